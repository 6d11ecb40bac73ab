"""The pages of an organization, with long words and many rows, on a phone."""

from orgadmin.models import Contact, Organization
from tests.browser import BrowserTestCase
from tests.browser.hands import WIDER_THAN_WINDOW
from tests.factories import create_organization, create_superuser, create_user

WIDTHS = (320, 390, 640, 1280)
PAGES = (
    "overview",
    "contacts",
    "access",
    "history",
    "change",
    "delete",
    "restore",
    "people",
    "ledger",
)
ROWS = 5_000

# Controls that lie on top of each other, or are cut off by the window
CLIPPED = """
() => [...document.querySelectorAll("main a, main button, main input")]
  .filter((node) => node.checkVisibility() && !node.closest(".visually-hidden"))
  .map((node) => [node, node.getBoundingClientRect()])
  .filter(([_node, box]) => box.right > innerWidth + 1 || box.left < -1)
  .map(([node]) => node.outerHTML.slice(0, 100))
"""


class LongWordTests(BrowserTestCase):
    def setUp(self):
        super().setUp()
        create_superuser(username="root" + "r" * 100)
        self.acme = create_organization(
            "W" * 255,
            reference="R" * 100,
            website=f"https://{'w' * 60}.example/{'w' * 300}",
            email=f"{'e' * 60}@{'e' * 60}.example",
            phone="5" * 50,
            address="A" * 500,
            tax_id="T" * 50,
            notes="N" * 1_000,
        )
        create_user(
            "u" * 150,
            first_name="F" * 100,
            last_name="L" * 100,
            admin_of=[self.acme],
        )
        self.acme.contacts.create(
            name="C" * 255,
            role="R" * 100,
            email=f"{'e' * 60}@{'e' * 60}.example",
            phone="5" * 50,
        )
        self.acme.notes = "M" * 1_000
        self.acme.save()

    def list_addresses(self):
        for page in PAGES:
            address = f"/admin/orgadmin/organization/{self.acme.pk}/{page}/"
            if page == "restore":
                address += f"?to={self.acme.history.last().pk}"
            yield address

    def test_nothing_scrolls_sideways_or_is_cut_off(self):
        for username in ("root" + "r" * 100, "u" * 150):
            tab = self.open_page_of(username)
            for address in self.list_addresses():
                tab.goto(address)
                for width in WIDTHS:
                    tab.set_viewport_size({"width": width, "height": 800})
                    with self.subTest(username=username[:4], page=address, width=width):
                        self.assertFalse(tab.evaluate(WIDER_THAN_WINDOW))
                        self.assertEqual(tab.evaluate(CLIPPED), [])

    def test_many_rows_fit_as_well(self):
        Contact.objects.bulk_create(
            Contact(organization=self.acme, name=f"Contact {number}", phone="1")
            for number in range(ROWS)
        )
        tab = self.open_page_of("u" * 150)
        for page in ("overview", "contacts"):
            tab.goto(f"/admin/orgadmin/organization/{self.acme.pk}/{page}/")
            tab.set_viewport_size({"width": 320, "height": 800})
            self.assertFalse(tab.evaluate(WIDER_THAN_WINDOW))
        self.assertEqual(Organization.objects.get().contacts.count(), ROWS + 1)
        self.assertLessEqual(tab.locator("tbody tr").count(), 100)
