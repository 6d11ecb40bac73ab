"""The pages for errors, and for people who are not signed in."""

import re
from pathlib import Path
from unittest import mock

from django.conf import settings
from django.test import Client, TestCase, override_settings, tag

from orgadmin.models import User

from .factories import create_organization, create_superuser, create_user

TEMPLATES = Path(settings.BASE_DIR, "templates")
LINK = re.compile(r'(?:href|action|src)="([^"]*)"')
EXPRESSION = re.compile(r"{{ (.*?) }}")

# What templates use as a link as it is: Django makes it, or encodes it. The website of
# an organization is only a link if it begins with "http".
WHOLE_LINKS = {
    "line.url",
    "account_url",
    "app_path",
    "card.edit_url",
    "card.review.url",
    "card.url",
    "chip.url",
    "cl.clear_all_filters_qs",
    "back_url",
    "cl.get_query_string",
    "cl.next_string",
    "csv_url",
    "export_url",
    "other_upload_url",
    "template_url",
    "workbook_url",
    "concern.url",
    "detail.link",
    "entry.get_admin_url",
    "icons",
    "inline_admin_form.absolute_url",
    "again_url",
    "item.url",
    "left_out_url",
    "job_url",
    "login_url",
    "onward_url",
    "page_url",
    "question.cancel_url",
    "original.website",
    "parent_url",
    "passkey_action",
    "people_url",
    "query",
    "record_url",
    "card.requests.url",
    "requests.url",
    "requests_url",
    "review.url",
    "request.GET.urlencode",
    "result.url",
    "review_url",
    "stay_signed_in_url",
    "tab.url",
    "totp_svg_data_uri",
    "undo_url",
    "upload_url",
    "url",
    "waiting.url",
}

# What cannot contain anything that would need to be encoded
NUMBERS = {
    "action.record.pk",
    "number",
    "on|date:'Y-m-d'",
    "page.parameter",
    "page_var",
    "is_popup_var",
}

FRONT = '<a href="/admin/">Go to the home page</a>'


@override_settings(ROOT_URLCONF="tests.urls_with_two_sites")
class SecondSiteTests(TestCase):
    """Django's own admin site, in addition to ours, with our templates."""

    def test_shows_its_lists(self):
        self.client.force_login(create_superuser(email="root@example.com"))
        response = self.client.get("/second/auth/group/")
        self.assertContains(response, "<h1>Groups</h1>", html=True)
        self.assertNotContains(response, "Your account</a>")


class ErrorPageTests(TestCase):
    def setUp(self):
        self.client.force_login(create_user(admin_of=[create_organization("Acme")]))

    def check(self, response, status, title):
        self.assertContains(
            response, f"<h1>{title}</h1>", status_code=status, html=True
        )
        self.assertContains(response, FRONT, status_code=status, html=True)
        self.assertNotContains(response, "Traceback", status_code=status)

    def test_no_such_page(self):
        responses = [
            self.client.get(path)
            for path in ("/secret-path/", "/admin/auth/", "/admin/nothing/7/")
        ]
        for response in responses:
            self.check(response, 404, "Page not found")
        self.assertNotContains(responses[0], "secret-path", status_code=404)
        self.assertEqual(len({response.content for response in responses}), 1)

    def test_not_allowed(self):
        self.check(
            self.client.get("/admin/auth/group/"),
            403,
            "You do not have permission to do this",
        )

    def test_a_form_without_its_token(self):
        client = Client(enforce_csrf_checks=True)
        self.check(
            client.post("/admin/login/", {"username": "anna"}),
            403,
            "This form has expired",
        )

    def test_what_makes_no_sense(self):
        response = self.client.post(
            "/admin/orgadmin/organization/", {"_selected_action": "x", "action": "y"}
        )
        self.check(response, 400, "This request is not valid")

    def test_an_error_of_ours_is_told_without_the_database(self):
        self.client.raise_request_exception = False
        with mock.patch(
            "orgadmin.admin.site.describe_home", side_effect=RuntimeError("secret")
        ):
            response = self.client.get("/admin/")
        self.check(response, 500, "Something went wrong")
        self.assertNotContains(response, "secret", status_code=500)


class SignInPageTests(TestCase):
    def test_says_whom_to_ask_for_access(self):
        self.assertContains(
            self.client.get("/admin/login/"),
            "Need access? Contact the person who told you about this site.",
        )
        with override_settings(ACCESS_CONTACT="Ann <ann@example.com>"):
            response = self.client.get("/admin/login/")
        self.assertContains(response, "Ann &lt;")
        self.assertContains(
            response, '<a href="mailto:ann@example.com">ann@example.com</a>'
        )

    def test_who_signs_out_is_told_so(self):
        self.client.force_login(create_user(admin_of=[create_organization("Acme")]))
        self.assertContains(self.client.post("/admin/logout/"), "You are signed out")


class EmptyTests(TestCase):
    def test_an_empty_list_says_what_to_do(self):
        self.client.force_login(create_user(admin_of=[create_organization("Acme")]))
        self.assertContains(
            self.client.get("/admin/orgadmin/contact/"),
            "There are no contacts yet that you can view.",
        )
        response = self.client.get("/admin/orgadmin/organization/?q=xyz")
        self.assertContains(response, "No results. Try fewer letters")


class ReaderTests(TestCase):
    def test_a_reviewer_gets_a_page_to_read_whose_links_work(self):
        acme = create_organization(
            "Acme",
            website="https://acme.example",
            email="a@acme.example",
            phone="+49 30 1",
        )
        self.client.force_login(create_user(reviewer_of=[acme]))
        response = self.client.get(f"/admin/orgadmin/organization/{acme.pk}/change/")
        for link in ("https://acme.example", "mailto:a@acme.example", "tel:+49301"):
            self.assertContains(response, f'href="{link}"')
        self.assertContains(response, "Not provided")
        self.assertNotContains(response, '<input type="text"')
        self.assertNotContains(response, "Tax ID")


class LinkTests(TestCase):
    @tag("E11")
    def test_links_encode_the_address_and_the_phone_number(self):
        acme = create_organization(
            "Acme",
            email="a?bcc=all&x=%40#y@acme.example",
            phone="+49 30?x=1;ext=2#",
        )
        expected = [
            'href="mailto:a%3Fbcc%3Dall%26x%3D%2540%23y@acme.example"',
            'href="tel:+4930%3Fx%3D1%3Bext%3D2%23"',
        ]
        url = f"/admin/orgadmin/organization/{acme.pk}"
        self.client.force_login(create_user("bert", reviewer_of=[acme]))
        response = self.client.get(f"{url}/change/")
        for link in expected:
            self.assertContains(response, link)
        for user in (User.objects.get(), create_user("ada", admin_of=[acme])):
            self.client.force_login(user)
            response = self.client.get(f"{url}/overview/")
            self.assertContains(response, expected[0])
            # Nobody can dial this.
            self.assertNotContains(response, 'href="tel:')

    @tag("E11")
    def test_every_template_encodes_what_it_puts_into_a_link(self):
        for template in sorted(TEMPLATES.rglob("*.html")):
            for link in LINK.findall(template.read_text(encoding="utf-8")):
                for expression in EXPRESSION.findall(link):
                    if expression in WHOLE_LINKS or expression in NUMBERS:
                        continue
                    with self.subTest(template=template.name, link=link):
                        self.assertIn("|urlencode", expression)
