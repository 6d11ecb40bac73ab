"""What somebody reads where something is wrong, and before they are let in."""

from unittest import mock

from django.test import Client, TestCase, override_settings

from .factories import create_organization, create_user

FRONT = '<a href="/admin/">Go to the home page</a>'


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
            "orgadmin.admin.site.list_cards", side_effect=RuntimeError("secret")
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
        self.assertNotContains(response, "Tax")
