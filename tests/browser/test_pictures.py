"""Take screenshots of the demo: `make pictures`."""

import shutil
from base64 import b64decode
from pathlib import Path

from django.conf import settings
from django.test import override_settings, tag

from tests.browser import DESKTOP, PHONE, BrowserTestCase
from tests.browser.pages import list_pages, stand_still
from tests.test_docs import SHOWN_PICTURES, find_shown_pictures

ALL_PICTURES = Path(settings.BASE_DIR, "pictures")
QUALITY = 40  # enough to read, and a picture takes some 15 KB
DEVICES = {"desktop": DESKTOP, "phone": PHONE}
HIDE_CARET = """
const sheet = new CSSStyleSheet();
sheet.replaceSync("* { caret-color: transparent !important; }");
document.adoptedStyleSheets.push(sheet);
"""


def take_webp(page):
    """Return a screenshot as WebP, the smallest format.

    `page.screenshot()` does not support it, so this asks Chromium directly.
    """
    page.evaluate(HIDE_CARET)
    session = page.context.new_cdp_session(page)
    options = {"format": "webp", "quality": QUALITY}
    screenshot = session.send("Page.captureScreenshot", options)
    return b64decode(screenshot["data"])


def copy_pictures_to_docs():
    """Update the pictures that the docs show; the benchmarks draw the diagrams."""
    for name in find_shown_pictures():
        if name.endswith(".webp"):
            shutil.copyfile(ALL_PICTURES / name, SHOWN_PICTURES / name)


@tag("pictures")
class PictureTests(BrowserTestCase):
    """Take a picture of each page, on two devices, in the light and the dark scheme."""

    # Replaces the tag of the base class, because these are not browser tests.
    tags = {"pictures"}

    def test_take_pictures(self):
        ALL_PICTURES.mkdir(exist_ok=True)
        stand_still(self)
        for page in list_pages():
            with override_settings(**page.settings):
                for device, viewport in DEVICES.items():
                    self.take_pictures(page, device, viewport)
        copy_pictures_to_docs()

    def take_pictures(self, page, device, viewport):
        tab = self.open_page_of(page.who, viewport=viewport, reduced_motion="reduce")
        tab.goto(page.address)
        page.act(tab)
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            path = ALL_PICTURES / f"{page.name}-{device}-{scheme}.webp"
            path.write_bytes(take_webp(tab))
        tab.context.close()
