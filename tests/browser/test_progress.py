"""The page about a long import, while the import is running."""

from playwright.sync_api import expect

from orgadmin.models import Import
from tests.browser import BrowserTestCase
from tests.factories import create_superuser

MARK = "window.isSamePage = true"


class ProgressTests(BrowserTestCase):
    def setUp(self):
        super().setUp()
        root = create_superuser("root")
        self.stored = Import.objects.create(
            actor_key=root.pk,
            file_name="customers.xlsx",
            state=Import.State.WORKING,
            line=10_000,
            summary={
                "records": 50_000,
                "last_line": 50_000,
                "report": {"changed": 1, "rows": 1},
            },
        )
        self.page = self.open_page_of("root")
        self.page.goto(f"/admin/orgadmin/import/{self.stored.pk}/overview/")
        self.page.evaluate(MARK)

    def change(self, **values):
        Import.objects.filter(pk=self.stored.pk).update(**values)

    def test_moves_without_loading_the_page_again(self):
        expect(self.page.get_by_text("Line 10000 of 50000")).to_be_visible()
        self.page.locator("#site-search, [name=q]").first.focus()
        self.change(line=20_000)
        expect(self.page.get_by_text("Line 20000 of 50000")).to_be_visible()
        self.assertTrue(self.page.evaluate("window.isSamePage"))
        focused = self.page.evaluate("document.activeElement.name")
        self.assertEqual(focused, "q")

    def test_shows_the_result_when_it_is_done(self):
        expect(self.page.get_by_text("Line 10000 of 50000")).to_be_visible()
        with self.page.expect_navigation():
            self.change(state=Import.State.FAILED)
        expect(self.page.get_by_text("Line 10000")).to_have_count(0)
        self.assertIsNone(self.page.evaluate("window.isSamePage"))
