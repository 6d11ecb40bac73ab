import os, re
from django.test import override_settings, tag
from tests.browser import DESKTOP, PHONE, BrowserTestCase
from tests.browser.pages import list_pages, stand_still

NAMES = re.compile(
    os.environ.get("SHOOT", "^(people|remove|change-role|revoke|user|ledger|delete)")
)
NARROW = {"width": 320, "height": 640}


@tag("pictures")
class Shoot(BrowserTestCase):
    tags = {"pictures"}

    def test_shoot(self):
        stand_still(self)
        for page in list_pages():
            if not NAMES.search(page.name):
                continue
            with override_settings(**page.settings):
                for device, viewport in {
                    "desktop": DESKTOP,
                    "phone": PHONE,
                    "narrow": NARROW,
                }.items():
                    try:
                        tab = self.open_page_of(
                            page.who, viewport=viewport, reduced_motion="reduce"
                        )
                        tab.set_default_timeout(8000)
                        tab.goto(page.address)
                        page.act(tab)
                        w = tab.evaluate(
                            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
                        )
                        if w[0] > w[1]:
                            print("WIDE", page.name, device, w, flush=True)
                        if device != "narrow":
                            tab.screenshot(
                                path=f"/tmp/shots/{page.name}-{device}.png",
                                full_page=True,
                            )
                        tab.context.close()
                    except Exception as e:
                        print("FAILED", page.name, device, str(e)[:200], flush=True)
