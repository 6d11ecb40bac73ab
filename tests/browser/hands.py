"""Ways to use a page: the mouse, the keyboard alone, a finger. Each counts what is pressed, typed text left out."""

import re

from playwright.sync_api import expect

MOST_TABS = 150
IS_FOCUSED = "element => element === document.activeElement"
IS_BEFORE_FOCUS = """
element => !!(document.activeElement.compareDocumentPosition(element) & Node.DOCUMENT_POSITION_PRECEDING)
"""
IN_FOCUSED_GROUP = "element => document.activeElement.type === 'radio' && document.activeElement.name === element.name"
# Not window.innerWidth: a phone zooms out to what is too wide.
WIDER_THAN_WINDOW = (
    "document.documentElement.scrollWidth > document.documentElement.clientWidth"
)


class Hand:
    """The mouse; the others do some of it in another way."""

    def __init__(self, page):
        self.page = page
        self.presses = 0

    def open(self, address):
        """Type the address into the browser."""
        self.page.goto(address)
        self.arrive()

    def arrive(self):
        """Look at the page that was loaded."""

    def touch(self, locator):
        self.presses += 1
        locator.click()

    def reach(self, locator):
        """Put the focus into a field."""
        if not locator.evaluate(IS_FOCUSED):
            self.touch(locator)

    def press(self, locator):
        """Follow a link, or press a button, to another page."""
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
        """Choose what is found in a field that searches."""
        self.reach(locator)
        self.page.keyboard.type(text)
        self.touch(self.page.get_by_role("option", name=text))

    def give(self, locator, text):
        """Choose a file; the dialog that opens belongs to the browser."""
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
    """The keyboard: whatever is wanted, Tab has to lead there."""

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
