"""The pictures of the docs, made from the demo by `make pictures`."""

import io
import re
from base64 import b64decode
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.core import mail
from django.core.management import call_command
from django.test import override_settings, tag
from playwright.sync_api import expect

from orgadmin.models import Organization, User

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
    return b64decode(session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})["data"])


@tag("pictures")
@override_settings(DEBUG=True)
class PictureTests(BrowserTestCase):
    viewport = {**DESKTOP, "height": 720}
    tags = {"pictures"}  # not part of the browser tests

    def setUp(self):
        super().setUp()
        stand_still(self)
        call_command("demo", verbosity=0, stdout=io.StringIO())
        for user in User.objects.all():
            user.set_password("secret")
            user.save()
        self.admin = User.objects.get(username="demo-admin")
        self.own = Organization.objects.permitted(self.admin, "change").first()

    def take(self, name, page=None):
        (page or self.page).screenshot(path=FOLDER / f"{name}.png")

    def test_take_pictures(self):
        page, person = self.page, self.open_page()
        page.goto("/admin/")
        self.take("sign-in")
        self.sign_in("demo-admin", page=person)
        self.take("org-admin-front", person)
        person.goto("/admin/orgadmin/organization/")
        self.take("org-admin-list", person)
        person.get_by_role("link", name=self.own.name).first.click()
        person.get_by_label("Phone:").fill("+1 555 0100")
        self.take("org-admin-edit", person)
        person.get_by_role("button", name="Save", exact=True).click()
        person.goto(f"/admin/orgadmin/organization/{self.own.pk}/history/")
        self.take("org-admin-history", person)
        person.goto(f"/admin/orgadmin/organization/{self.own.pk}/people/")
        person.get_by_label("E-mail:").fill("nora@example.com")
        person.locator("#id_invite-role").get_by_label("Admin").check()
        person.get_by_role("button", name="Invite", exact=True).click()
        expect(person.get_by_text("An invitation was sent")).to_be_visible()
        self.take("org-admin-people", person)
        new = self.open_page()
        new.goto(urlsplit(re.search(r"https?://\S+", mail.outbox[0].body)[0]).path)
        self.take("invitation", new)
        new.get_by_label("First name:").fill("Nora")
        new.get_by_label("New password:").fill("correct horse battery")
        new.get_by_label("New password confirmation:").fill("correct horse battery")
        new.get_by_role("button", name="Accept").click()
        expect(new.get_by_label("Name:").first).to_be_visible()
        self.take("invited-sees-it", new)
        person.goto(f"/admin/orgadmin/organization/{self.own.pk}/ledger/")
        self.take("org-admin-ledger", person)
        person.goto(f"/admin/orgadmin/organization/{self.own.pk}/people/")
        person.get_by_role("button", name="Remove nora@example.com").click()
        expect(person.get_by_text("Are you sure?").first).to_be_visible()
        self.take("org-admin-remove", person)

        self.sign_in("demo-staff")
        self.take("staff-front")
        page.goto("/admin/orgadmin/organization/add/")
        page.get_by_label("Name:").fill("Widget Company")
        self.take("staff-create")
        page.get_by_role("button", name="Save", exact=True).click()
        page.get_by_role("link", name="Add its people").click()
        page.locator(".select2-selection").click()
        page.keyboard.type("demo-ad")
        expect(page.get_by_role("option", name="demo-admin")).to_be_visible()
        self.take("staff-assign")
        page.get_by_role("option", name="demo-admin").click()
        page.locator("#id_add-role").get_by_label("Admin").check()
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.locator(".select2-selection")).to_be_visible()
        self.take("staff-people")
        person.goto("/admin/orgadmin/organization/")
        self.take("org-admin-sees-it", person)
        page.goto(f"/admin/orgadmin/organization/{self.own.pk}/access/")
        self.take("staff-access")
        page.goto(f"/admin/orgadmin/user/{self.admin.pk}/leave/")
        self.take("staff-leaver")
        page.goto("/admin/orgadmin/organization/import/")
        text = f"id,name,phone,admins\n{self.own.pk},{self.own.name},+1 555 0199,nora@example.com\n,Widget Works,,\n"
        file = {"name": "file.csv", "mimeType": "text/csv", "buffer": text.encode()}
        page.get_by_label("CSV file:").set_input_files(file)
        page.get_by_role("button", name="Show what it would do").click()
        expect(page.get_by_text("Nothing was imported yet.")).to_be_visible()
        self.take("staff-import")
        page.goto(f"/admin/orgadmin/organization/{self.own.pk}/delete/")
        self.take("staff-delete")
        page.goto("/admin/orgadmin/organization/")
        self.take("staff-list")


@tag("pictures")
class PagePictureTests(BrowserTestCase):
    """Each page, on two devices, light and dark."""

    tags = {"pictures"}
    devices = {"desktop": DESKTOP, "phone": PHONE}

    def test_take_pictures(self):
        stand_still(self)
        for page in list_pages():
            for device, size in self.devices.items():
                tab = self.open_page_of(page.who, viewport=size, reduced_motion="reduce")
                tab.goto(page.address)
                page.act(tab)
                for scheme in ("light", "dark"):
                    tab.emulate_media(color_scheme=scheme)
                    Path(FOLDER, f"{page.name}-{device}-{scheme}.webp").write_bytes(take_webp(tab))
                tab.context.close()
