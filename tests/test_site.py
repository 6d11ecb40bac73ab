from django.test import TestCase, tag
from django.utils import timezone

from orgadmin import throttle
from orgadmin.models import SignInAttempt, User

from .factories import create_organization, create_superuser, create_user

LOGIN = "/admin/login/"


class SignInTests(TestCase):
    def sign_in(self, username, password="secret"):
        return self.client.post(LOGIN, {"username": username, "password": password, "next": "/admin/"})

    @tag("D1")
    def test_lets_in_whoever_holds_a_right_or_is_platform_staff(self):
        acme = create_organization()
        create_superuser("root")
        create_user("staff", is_staff=True)
        create_user("admin", admin_of=[acme])
        create_user("reviewer", reviewer_of=[acme])
        for username in ("root", "staff", "admin", "reviewer"):
            with self.subTest(username=username):
                self.assertRedirects(self.sign_in(username), "/admin/")
                self.client.logout()

    @tag("D2")
    def test_refuses_everybody_else_in_the_words_of_a_wrong_password(self):
        acme = create_organization()
        create_user("outsider")
        create_user("inactive", admin_of=[acme], is_active=False)
        create_user("admin", admin_of=[acme])
        attempts = [("outsider", "secret"), ("inactive", "secret"), ("admin", "wrong"), ("nobody", "secret")]
        bodies = set()
        for username, password in attempts:
            response = self.sign_in(username, password)
            self.assertEqual(response.status_code, 200)
            self.assertNotIn("_auth_user_id", self.client.session)
            bodies.add(str(response.context["form"].errors).replace(username, ""))
        self.assertEqual(len(bodies), 1)

    def test_the_page_is_there_for_everybody(self):
        for user in (None, create_user("outsider"), create_user("inactive", is_active=False)):
            if user:
                self.client.force_login(user)
            response = self.client.get(LOGIN)
            self.assertContains(response, 'name="username"')
            self.assertContains(response, 'name="password"')

    @tag("D14")
    def test_leads_on_only_within_the_site(self):
        create_superuser("root")
        for target in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"):
            response = self.client.post(LOGIN, {"username": "root", "password": "secret", "next": target})
            self.assertEqual(response["Location"], "/admin/")

    def test_the_root_leads_to_the_admin(self):
        self.assertRedirects(self.client.get("/"), "/admin/", fetch_redirect_response=False)


class GuessingTests(TestCase):
    def sign_in(self, password, username="root", **extra):
        self.client.post(LOGIN, {"username": username, "password": password}, **extra)
        signed_in = "_auth_user_id" in self.client.session
        self.client.logout()
        return signed_in

    @tag("D7")
    def test_ends_after_some_failures_and_reads_like_a_wrong_password(self):
        create_superuser("root")
        first = self.client.post(LOGIN, {"username": "root", "password": "wrong"})
        for number in range(throttle.LIMIT - 1):
            self.assertFalse(self.sign_in(f"wrong {number}"))
            for nothing in ("", "\0"):  # asks nothing, and so forgets nothing
                self.sign_in(nothing)
        self.assertFalse(self.sign_in("secret"))
        last = self.client.post(LOGIN, {"username": "ROOT", "password": "secret"})
        self.assertEqual(first.context["form"].errors, last.context["form"].errors)
        self.assertTrue(self.sign_in("secret", REMOTE_ADDR="192.0.2.1"))

    def test_begins_anew_after_a_while_and_after_a_success(self):
        create_superuser("root")
        for _ in range(3):
            for number in range(throttle.LIMIT - 1):
                self.sign_in(f"wrong {number}")
            self.assertTrue(self.sign_in("secret"))
        for number in range(throttle.LIMIT):
            self.sign_in(f"wrong {number}")
        self.assertFalse(self.sign_in("secret"))
        SignInAttempt.objects.update(since=timezone.now() - throttle.WINDOW)
        self.assertTrue(self.sign_in("secret"))
        self.assertFalse(self.sign_in("wrong", username="another"))
        self.assertEqual(SignInAttempt.objects.count(), 1)

    def test_counts_names_that_nobody_has_alike(self):
        for _ in range(throttle.LIMIT):
            self.sign_in("wrong", username="nobody")
        self.assertFalse(throttle.is_allowed("NOBODY", "127.0.0.1"))
        self.assertTrue(throttle.is_allowed("NOBODY", "127.0.0.2"))


class EntryTests(TestCase):
    def test_a_signed_in_person_without_rights_is_asked_to_sign_in(self):
        self.client.force_login(create_user("outsider"))
        for url in ("/admin/", "/admin/orgadmin/organization/", "/admin/password_change/", "/admin/jsi18n/"):
            self.assertRedirects(self.client.get(url), f"{LOGIN}?next={url}")

    @tag("A33")
    def test_members_change_their_password(self):
        self.client.force_login(create_user(admin_of=[create_organization()]))
        new = "correct horse battery"
        data = {"old_password": "secret", "new_password1": new, "new_password2": new}
        self.assertEqual(self.client.post("/admin/password_change/", data).status_code, 302)
        self.assertTrue(User.objects.get().check_password(new))
