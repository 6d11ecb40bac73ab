"""Check every page in light and dark, on narrow and wide screens.

For what axe-core finds, for what moves while the page loads, and for what is too wide.
"""

from axe_playwright_python.base import AXE_SCRIPT
from django.conf import settings
from django.test import override_settings
from playwright.sync_api import Error

from tests.browser import DESKTOP, PHONE, BrowserTestCase
from tests.browser.hands import WIDER_THAN_WINDOW
from tests.browser.pages import do_nothing, list_pages, stand_still

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
    # Preloading copies style sheets into inline ones, which the site does not allow.
    "preload": False,
}
# In the dark, only colours differ.
AXE_ON_COLOURS = {**AXE, "runOnly": ["color-contrast", "link-in-text-block"]}
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
SLOW_NETWORK = {
    "offline": False,
    "latency": 0,
    "downloadThroughput": 2_000,  # bytes per second
    "uploadThroughput": 2_000,
}
LIST_SHIFTS = """
new Promise((done) => {
  requestAnimationFrame(() => setTimeout(() => done(window.shifts), 50));
})
"""

RECORD_FIRST_FRAME = """
requestAnimationFrame(() => {
  window.wasComplete = document.getElementById("footer") !== null;
});
"""


# What does not fit in a table, which would be cut off.
LIST_CUT = """
[...document.querySelectorAll(".results")]
  .filter((box) => box.scrollWidth > box.clientWidth + 1)
  .map((box) => box.outerHTML.slice(0, 80));
"""


class PageTests(BrowserTestCase):
    viewport = DESKTOP
    # 1024 pixels leave the least room beside the navigation, and 640 pixels are what is
    # left of 1280 at a zoom of 200 %.
    widths = (1280, 1024, 640)

    def setUp(self):
        super().setUp()
        stand_still(self)
        self.tabs = {}  # {username: a page of their browser}

    def test_each_page(self):
        findings = []
        for page in list_pages():
            with override_settings(**page.settings):
                for finding in self.examine(page):
                    findings.append(f"{page.name}: {finding}")
        self.assertFalse(findings, "\n" + "\n".join(findings))

    def open_tab(self, username):
        if username not in self.tabs:
            tab = self.open_page_of(username, reduced_motion="reduce")
            tab.add_init_script(RECORD_SHIFTS)
            self.tabs[username] = tab
        return self.tabs[username]

    def examine(self, page):
        """Yield a line for everything that is wrong with a page."""
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
        for scheme, options in (("light", AXE), ("dark", AXE_ON_COLOURS)):
            tab.emulate_media(color_scheme=scheme)
            for violation in self.run_axe(tab, options):
                yield f"{scheme}: {violation}"
        for width in self.widths:
            tab.set_viewport_size({**self.viewport, "width": width})
            if tab.evaluate(WIDER_THAN_WINDOW):
                yield f"scrolls sideways at {width} px"
            for box in tab.evaluate(LIST_CUT):
                yield f"is cut at {width} px: {box}"

    def run_axe(self, tab, options):
        result = tab.evaluate("options => axe.run(options)", options)
        for violation in result["violations"]:
            rule = f"{violation['id']} ({violation['help']})"
            for node in violation["nodes"]:
                yield f"{rule}: {node['target']} {node['html'][:150]}"


class SlowNetworkTests(BrowserTestCase):
    def test_a_page_shows_nothing_before_all_of_it_is_there(self):
        """Otherwise, a table changes the widths of its columns with each new row."""
        stand_still(self)
        [page] = [page for page in list_pages() if page.name == "ledger-of-all"]
        tab = self.open_page_of(page.who)
        tab.goto(page.address)  # from now on, its styles and scripts are in the cache
        tab.add_init_script(RECORD_FIRST_FRAME)
        network = tab.context.new_cdp_session(tab)
        network.send("Network.enable")
        network.send("Network.emulateNetworkConditions", SLOW_NETWORK)
        tab.goto(page.address)
        tab.wait_for_function("window.wasComplete !== undefined")
        self.assertTrue(tab.evaluate("wasComplete"))


class NarrowPageTests(PageTests):
    viewport = {"width": 320, "height": 640}
    widths = (320,)


class LanguageTests(BrowserTestCase):
    """The words of other languages are longer than those of English."""

    viewport = NarrowPageTests.viewport

    def test_no_page_is_too_wide_in_another_language(self):
        stand_still(self)
        pages = [page for page in list_pages() if page.act is do_nothing]
        findings = []
        for language, _name in settings.LANGUAGES:
            if language == "en":
                continue
            self.tabs = {}
            for page in pages:
                with override_settings(**page.settings):
                    for finding in self.examine(page, language):
                        findings.append(f"{page.name}, {language}: {finding}")
        self.assertFalse(findings, "\n" + "\n".join(findings))

    def examine(self, page, language):
        if page.who not in self.tabs:
            self.tabs[page.who] = self.open_page_of(page.who, locale=language)
        tab = self.tabs[page.who]
        tab.goto(page.address)
        if tab.evaluate(WIDER_THAN_WINDOW):
            yield "scrolls sideways"
        for box in tab.evaluate(LIST_CUT):
            yield f"is cut: {box}"


# What people touch that stands alone: not links in the middle of a text, and not the
# boxes whose whole row or label can be touched.
LIST_LOW = """
[...document.querySelectorAll(
  ".button, .side a, .tabs a, .trail a, .row-actions :is(a, button), .cards h2 a,"
  + ".results tbody :is(th, td) > a, .rows .person a, summary, header button"
)]
  .filter((target) => target.checkVisibility())
  .map((target) => [target, target.getBoundingClientRect().height])
  .filter(([target, height]) => height > 0 && height < 43.5)
  .map(([target, height]) => `${height} px: ${target.outerHTML.slice(0, 80)}`);
"""


class TouchTests(BrowserTestCase):
    viewport = PHONE
    context = {"has_touch": True, "is_mobile": True}

    def test_what_people_touch_is_44_pixels_high(self):
        stand_still(self)
        tabs = {}
        findings = []
        for page in list_pages():
            if page.who not in tabs:
                tabs[page.who] = self.open_page_of(page.who, reduced_motion="reduce")
            tab = tabs[page.who]
            with override_settings(**page.settings):
                tab.goto(page.address)
                page.act(tab)
                low = tab.evaluate(LIST_LOW)
            findings += [f"{page.name}: {target}" for target in low]
        self.assertFalse(findings, "\n" + "\n".join(findings))
