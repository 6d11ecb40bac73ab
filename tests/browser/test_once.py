"""A double click on a slow server."""

import time
from threading import Lock
from unittest import mock

from playwright.sync_api import expect

from orgadmin.admin.base import ClosedModelAdmin
from orgadmin.models import Organization
from tests.browser import BrowserTestCase
from tests.factories import create_superuser

save_form = ClosedModelAdmin.changeform_view


class SlowServer:
    """Answers one request after the other, and takes a while for each.

    The browser tests share one connection to the database, in which no request would
    wait for another. `tests.test_once` tests that with real connections.
    """

    def __init__(self):
        self.lock = Lock()
        self.posts = 0

    def __call__(self, model_admin, request, *args, **kwargs):
        with self.lock:
            response = save_form(model_admin, request, *args, **kwargs)
            if request.method == "POST":
                self.posts += 1
                time.sleep(0.5)
            return response


class DoubleClickTests(BrowserTestCase):
    def test_creates_one_organization(self):
        create_superuser("root")
        page = self.open_page_of("root")
        server = SlowServer()

        def view(model_admin, *args, **kwargs):
            return server(model_admin, *args, **kwargs)

        with mock.patch.object(ClosedModelAdmin, "changeform_view", view):
            page.goto("/admin/orgadmin/organization/add/")
            page.get_by_label("Name:").fill("New")
            page.get_by_role("button", name="Save", exact=True).dblclick(delay=100)
            expect(page.get_by_text("This form was sent twice.")).to_be_visible()
        # The page shows what was saved the first time.
        expect(page.get_by_role("heading", name="New", exact=True)).to_be_visible()
        self.assertEqual(server.posts, 2)
        self.assertEqual(Organization.objects.filter(name="New").count(), 1)
