"""Every page, in light and dark, on narrow and wide screens: what axe-core finds, what moves, what sticks out."""

from axe_playwright_python.base import AXE_SCRIPT
from django.test import override_settings
from playwright.sync_api import Error

from . import DESKTOP, BrowserTestCase
from .hands import WIDER_THAN_WINDOW
from .pages import list_pages, stand_still

AXE = {
    "runOnly": [
        "wcag2a",
        "wcag2aa",
        "wcag21a",
        "wcag21aa",
        "wcag22aa",
        "best-practice",
    ],
    "resultTypes": ["violations"],
    "preload": False,  # of style sheets, into inline ones, which the site does not allow
}
RECORD_SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const shift of list.getEntries()) {
    const moved = shift.sources.map(({node}) => node && (node.outerHTML || node.data).slice(0, 80));
    if (!shift.hadRecentInput && shift.value > 0.005) window.shifts.push(`${shift.value} ${moved}`);
  }
}).observe({type: "layout-shift", buffered: true});
"""
LIST_SHIFTS = "new Promise(done => requestAnimationFrame(() => setTimeout(() => done(window.shifts), 50)))"


class PageTests(BrowserTestCase):
    viewport = DESKTOP
    widths = (1280, 640)  # 640: as the other is at 200 %

    def setUp(self):
        super().setUp()
        stand_still(self)
        self.tabs = {}  # username -> a page of their browser

    def test_each_page(self):
        findings = []
        for page in list_pages():
            with override_settings(**page.settings):
                findings += [
                    f"{page.name}: {finding}" for finding in self.examine(page)
                ]
        self.assertFalse(findings, "\n" + "\n".join(findings))

    def open_tab(self, who):
        if who not in self.tabs:
            self.tabs[who] = self.open_page_of(who, reduced_motion="reduce")
            self.tabs[who].add_init_script(RECORD_SHIFTS)
        return self.tabs[who]

    def examine(self, page):
        tab = self.open_tab(page.who)
        tab.set_viewport_size(self.viewport)
        tab.goto(page.address)
        try:
            page.act(tab)
        except Error as error:
            yield f"cannot be reached: {error.message}"
            return
        for shift in tab.evaluate(LIST_SHIFTS):
            yield f"moves while it loads: {shift}"
        tab.evaluate(AXE_SCRIPT)
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            for violation in tab.evaluate("options => axe.run(options)", AXE)[
                "violations"
            ]:
                for node in violation["nodes"]:
                    yield f"{scheme}: {violation['id']} ({violation['help']}): {node['target']} {node['html'][:150]}"
        for width in self.widths:
            tab.set_viewport_size({**self.viewport, "width": width})
            if tab.evaluate(WIDER_THAN_WINDOW):
                yield f"scrolls sideways at {width} px"


class NarrowPageTests(PageTests):
    viewport = {"width": 320, "height": 640}
    widths = (320,)
