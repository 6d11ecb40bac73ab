"""Every page, light and dark, on narrow and wide screens.

What axe-core objects to, what moves while a page loads, and what is too wide.
"""

from axe_playwright_python.base import AXE_SCRIPT
from django.test import override_settings
from playwright.sync_api import Error

from tests.browser import DESKTOP, BrowserTestCase
from tests.browser.hands import WIDER_THAN_WINDOW
from tests.browser.pages import list_pages, stand_still

RUN_AXE = "options => axe.run(options)"
AXE_OPTIONS = {
    "runOnly": [
        "wcag2a",
        "wcag2aa",
        "wcag21a",
        "wcag21aa",
        "wcag22aa",
        "best-practice",
    ],
    "resultTypes": ["violations"],
    # To preload style sheets, axe would write them into the page, which the site
    # forbids.
    "preload": False,
}

RECORD_SHIFTS = """
window.shifts = [];
const describe = ({node}) => node && (node.outerHTML || node.data).slice(0, 80);
new PerformanceObserver((list) => {
  for (const shift of list.getEntries()) {
    if (!shift.hadRecentInput && shift.value > 0.005) {
      window.shifts.push(`${shift.value} ${shift.sources.map(describe)}`);
    }
  }
}).observe({type: "layout-shift", buffered: true});
"""
LIST_SHIFTS = """
new Promise((resolve) => {
  requestAnimationFrame(() => setTimeout(() => resolve(window.shifts), 50));
})
"""


class PageTests(BrowserTestCase):
    viewport = DESKTOP
    widths = (1280, 640)  # the second is like the first one, zoomed to 200 %

    def setUp(self):
        super().setUp()
        stand_still(self)
        self.tabs = {}  # by username

    def test_each_page(self):
        problems = []
        for page in list_pages():
            with override_settings(**page.settings):
                for problem in self.examine(page):
                    problems.append(f"{page.name}: {problem}")
        self.assertFalse(problems, "\n" + "\n".join(problems))

    def open_tab(self, username):
        if username not in self.tabs:
            self.tabs[username] = self.open_page_of(username, reduced_motion="reduce")
            self.tabs[username].add_init_script(RECORD_SHIFTS)
        return self.tabs[username]

    def examine(self, page):
        """Return the problems of a page."""
        tab = self.open_tab(page.username)
        tab.set_viewport_size(self.viewport)
        tab.goto(page.address)
        try:
            page.act(tab)
        except Error as error:
            return [f"cannot be reached: {error.message}"]
        problems = []
        for shift in tab.evaluate(LIST_SHIFTS):
            problems.append(f"moves while it loads: {shift}")
        problems += self.run_axe(tab)
        for width in self.widths:
            tab.set_viewport_size({**self.viewport, "width": width})
            if tab.evaluate(WIDER_THAN_WINDOW):
                problems.append(f"scrolls sideways at {width} px")
        return problems

    def run_axe(self, tab):
        """Return the problems that axe-core finds in both color schemes."""
        problems = []
        tab.evaluate(AXE_SCRIPT)
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            for violation in tab.evaluate(RUN_AXE, AXE_OPTIONS)["violations"]:
                rule = f"{violation['id']} ({violation['help']})"
                for node in violation["nodes"]:
                    place = f"{node['target']} {node['html'][:150]}"
                    problems.append(f"{scheme}: {rule}: {place}")
        return problems


class NarrowPageTests(PageTests):
    viewport = {"width": 320, "height": 640}
    widths = (320,)
