"""Ways to use a page: the mouse, a finger, the keyboard alone.

Each counts how often something is pressed. Typing text does not count. `steps` leaves
out what only leads to a field for text, which the budget of a job does not count.
"""

import re

from playwright.sync_api import expect

MOST_TABS = 150
IS_FOCUSED = "element => element === document.activeElement"
IS_BEFORE_FOCUS = """
element => {
  const position = document.activeElement.compareDocumentPosition(element);
  return Boolean(position & Node.DOCUMENT_POSITION_PRECEDING);
}
"""
IN_FOCUSED_GROUP = """
element => {
  const focused = document.activeElement;
  return focused.type === "radio" && focused.name === element.name;
}
"""
# At the top of a page, where its content is still behind the top bar and the navigation
IS_BEHIND_NAVIGATION = """
element => document.activeElement === document.body && element.closest("main") !== null
"""
# Not window.innerWidth: if a page is too wide, a phone zooms out.
WIDER_THAN_WINDOW = (
    "document.documentElement.scrollWidth > document.documentElement.clientWidth"
)


class Hand:
    """The mouse. The other hands override some of these methods."""

    def __init__(self, page):
        self.page = page
        self.presses = 0
        self.steps = 0

    def begin(self):
        """Begin to count steps: this is where a job starts."""
        self.steps = 0

    def link(self, name):
        return self.page.get_by_role("link", name=name, exact=True)

    def tab(self, name):
        tabs = self.page.get_by_role("navigation", name="Pages")
        return tabs.get_by_role("link", name=name, exact=True)

    def button(self, name):
        return self.page.get_by_role("button", name=name, exact=True)

    def field(self, label):
        return self.page.get_by_label(label)

    def open(self, address):
        """Type an address into the browser."""
        self.page.goto(address)
        self.arrive()

    def arrive(self):
        """Look at the page that has loaded."""

    def navigate(self, name):
        """Follow a link of the main navigation."""
        navigation = self.page.get_by_role("navigation", name="Main")
        self.press(navigation.get_by_role("link", name=name, exact=True))

    def touch(self, locator):
        self.presses += 1
        self.steps += 1
        locator.click()

    def reach(self, locator):
        """Put the focus into a field."""
        if not locator.evaluate(IS_FOCUSED):
            self.touch(locator)
            self.steps -= 1

    def press(self, locator):
        """Follow a link, or press a button, that leads to another page."""
        with self.page.expect_navigation():
            self.touch(locator)
        self.arrive()

    def enter(self):
        """Press Enter in a field, which leads to another page."""
        self.presses += 1
        self.steps += 1
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")
        self.arrive()

    def fill(self, locator, text):
        self.reach(locator)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)

    def choose(self, locator):
        """Choose a radio button."""
        self.touch(locator)

    def select(self, locator, text):
        """Open a list of choices, and choose one."""
        self.presses += 2
        self.steps += 2
        locator.select_option(label=text)

    def tick(self, locator):
        """Tick a checkbox."""
        self.touch(locator)

    def pick(self, locator, text):
        """Search in a field that searches, and choose the result."""
        self.reach(locator)
        self.page.keyboard.type(text)
        self.touch(self.page.get_by_role("option", name=text))

    def give(self, locator, content, name="file.csv"):
        """Choose a file. The dialog that opens belongs to the browser."""
        self.presses += 1
        self.steps += 1
        if isinstance(content, str):
            content = content.encode()
        locator.set_input_files(
            {"name": name, "mimeType": "application/octet-stream", "buffer": content}
        )

    def download(self, locator):
        """Return the text of the file that a link downloads."""
        return self.download_bytes(locator).decode()

    def download_bytes(self, locator):
        with self.page.expect_download() as download:
            self.touch(locator)
        return download.value.path().read_bytes()


class Finger(Hand):
    def arrive(self):
        assert not self.page.evaluate(WIDER_THAN_WINDOW), (
            f"{self.page.url} scrolls sideways"
        )

    def navigate(self, name):
        self.touch(self.button("Menu"))
        super().navigate(name)

    def touch(self, locator):
        self.presses += 1
        self.steps += 1
        locator.tap()


class Keys(Hand):
    """The keyboard. Tab must lead to everything that a person needs."""

    def key(self, name):
        self.presses += 1
        self.page.keyboard.press(name)

    def skip_navigation(self):
        """Follow the first link of a page, which leads to its content.

        Tab leads elsewhere if the address of the page names a place on it.
        """
        skip_link = self.link("Skip to main content")
        self.key("Tab")
        if skip_link.count() and skip_link.evaluate(IS_FOCUSED):
            self.key("Enter")
            expect(self.page.locator("main")).to_be_focused()

    def reach(self, locator, is_there=IS_FOCUSED):
        if locator.evaluate(IS_BEHIND_NAVIGATION):
            self.skip_navigation()
        for _ in range(MOST_TABS):
            if locator.evaluate(is_there):
                return
            is_behind = locator.evaluate(IS_BEFORE_FOCUS)
            self.key("Shift+Tab" if is_behind else "Tab")
        raise AssertionError(
            f"{MOST_TABS} tabs do not lead to {locator} on {self.page.url}"
        )

    def press(self, locator):
        # The skip link leads to another place on the page, which is a navigation, too.
        self.reach(locator)
        super().press(locator)

    def touch(self, locator):
        self.reach(locator)
        self.key("Enter")

    def choose(self, locator):
        self.reach(locator, IN_FOCUSED_GROUP)
        while not locator.evaluate(IS_FOCUSED):
            self.key("ArrowDown")
        if not locator.is_checked():
            self.key("Space")

    def select(self, locator, text):
        self.reach(locator)
        while locator.locator("option:checked").inner_text() != text:
            self.key("ArrowDown")

    def tick(self, locator):
        self.reach(locator)
        self.key("Space")

    def pick(self, locator, text):
        self.reach(locator)
        self.page.keyboard.type(text)
        expect(self.page.get_by_role("option", name=text)).to_have_class(
            re.compile("highlighted")
        )
        self.key("Enter")

    def give(self, locator, content, name="file.csv"):
        self.reach(locator)
        super().give(locator, content, name)
