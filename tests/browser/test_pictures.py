"""The pictures of the docs, made from the demo by `make pictures`."""

from base64 import b64decode
from pathlib import Path

from django.conf import settings
from django.test import override_settings, tag

from . import DESKTOP, PHONE, BrowserTestCase
from .pages import list_pages, stand_still

FOLDER = Path(settings.BASE_DIR, "docs/pictures")
QUALITY = 40  # enough to read, and all of them together take less than 6 MB
HIDE_CARET = """
const sheet = new CSSStyleSheet();
sheet.replaceSync("* { caret-color: transparent !important; }");
document.adoptedStyleSheets.push(sheet);
"""


def take_webp(page):
    """Return a picture in the format that is smallest, which page.screenshot() does not know."""
    page.evaluate(HIDE_CARET)
    session = page.context.new_cdp_session(page)
    return b64decode(
        session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})[
            "data"
        ]
    )


@tag("pictures")
class PictureTests(BrowserTestCase):
    """Each page, on two devices, light and dark."""

    tags = {"pictures"}  # not part of the browser tests
    devices = {"desktop": DESKTOP, "phone": PHONE}

    def test_take_pictures(self):
        stand_still(self)
        for page in list_pages():
            with override_settings(**page.settings):
                for device, size in self.devices.items():
                    self.take(page, device, size)

    def take(self, page, device, size):
        tab = self.open_page_of(page.who, viewport=size, reduced_motion="reduce")
        tab.goto(page.address)
        page.act(tab)
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            Path(FOLDER, f"{page.name}-{device}-{scheme}.webp").write_bytes(
                take_webp(tab)
            )
        tab.context.close()
