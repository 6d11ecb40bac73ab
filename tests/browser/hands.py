"""Ways to use a page: with the mouse, with the keyboard alone, with a finger.

Each counts what is pressed, except typed text.
"""

import re

from playwright.sync_api import expect

MOST_TABS = 150

IS_FOCUSED = "element => element === document.activeElement"
IS_BEFORE_FOCUS = """
element => {
  const position = document.activeElement.compareDocumentPosition(element);
  return !!(position & Node.DOCUMENT_POSITION_PRECEDING);
}
"""
IN_FOCUSED_GROUP = """
element => {
  const focused = document.activeElement;
  return focused.type === 'radio' && focused.name === element.name;
}
"""
# Not window.innerWidth: a phone zooms out if something is too wide.
WIDER_THAN_WINDOW = (
    "document.documentElement.scrollWidth > document.documentElement.clientWidth"
)


class Hand:
    """The mouse. The other ways differ from it in some actions."""

    def __init__(self, page):
        self.page = page
        self.presses = 0

    def link(self, **options):
        return self.page.get_by_role("link", **options)

    def button(self, **options):
        return self.page.get_by_role("button", **options)

    def label(self, text):
        return self.page.get_by_label(text)

    def open(self, address):
        """Type the address into the browser."""
        self.page.goto(address)
        self.arrive()

    def arrive(self):
        """Check the page that was loaded."""

    def touch(self, locator):
        self.presses += 1
        locator.click()

    def reach(self, locator):
        """Focus a field."""
        if not locator.evaluate(IS_FOCUSED):
            self.touch(locator)

    def press(self, locator):
        """Follow a link or press a button that leads to another page."""
        with self.page.expect_navigation():
            self.touch(locator)
        self.arrive()

    def fill(self, locator, text):
        self.reach(locator)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)

    def choose(self, locator):
        """Choose one of several radio buttons."""
        self.touch(locator)

    def pick(self, locator, text):
        """Type into a field that searches, and choose an option that it finds."""
        self.reach(locator)
        self.page.keyboard.type(text)
        self.touch(self.page.get_by_role("option", name=text))

    def give(self, locator, text):
        """Choose a file. Only opening the dialog counts, which is the browser's."""
        self.presses += 1
        locator.set_input_files(
            {"name": "file.csv", "mimeType": "text/csv", "buffer": text.encode()}
        )

    def download(self, locator):
        with self.page.expect_download() as download:
            self.touch(locator)
        return download.value.path().read_text()


class Finger(Hand):
    def arrive(self):
        assert not self.page.evaluate(WIDER_THAN_WINDOW), (
            f"{self.page.url} scrolls sideways"
        )

    def touch(self, locator):
        self.presses += 1
        locator.tap()


class Keys(Hand):
    """The keyboard alone: Tab has to lead to everything."""

    def key(self, name):
        self.presses += 1
        self.page.keyboard.press(name)

    def reach(self, locator, is_there=IS_FOCUSED):
        for _ in range(MOST_TABS):
            if locator.evaluate(is_there):
                return
            self.key("Shift+Tab" if locator.evaluate(IS_BEFORE_FOCUS) else "Tab")
        raise AssertionError(
            f"{MOST_TABS} tabs do not lead to {locator} on {self.page.url}"
        )

    def touch(self, locator):
        self.reach(locator)
        self.key("Enter")

    def choose(self, locator):
        self.reach(locator, IN_FOCUSED_GROUP)
        while not locator.evaluate(IS_FOCUSED):
            self.key("ArrowDown")
        if not locator.is_checked():
            self.key("Space")

    def pick(self, locator, text):
        self.reach(locator)
        self.page.keyboard.type(text)
        expect(self.page.get_by_role("option", name=text)).to_have_class(
            re.compile("highlighted")
        )
        self.key("Enter")

    def give(self, locator, text):
        self.reach(locator)
        super().give(locator, text)
