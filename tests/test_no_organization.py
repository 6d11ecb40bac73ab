"""People whose password is right, but who don't belong to an organization."""

import re
from unittest import mock

from allauth.mfa.models import Authenticator
from django.core import mail
from django.test import Client, TestCase, override_settings, tag
from django.urls import resolve, reverse

from orgadmin.access.membership_log import Event
from orgadmin.accounts import throttle
from orgadmin.accounts.own_pages import OWN_PAGES
from orgadmin.models import AuditEvent, Invitation, MembershipEvent, User
from orgadmin.people import invitations
from tests.factories import (
    ADMIN,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)
from tests.mailing import read_link
from tests.test_matrix import simplify, walk

LOGIN = "/admin/login/"
PAGE = "/admin/no-organization/"
NOTICE = "you don't belong to an organization yet"
EMAIL = "nora@example.com"

# Pages that are the same for everyone, signed in or not.
PUBLIC = {
    "account_login",
    "account_logout",
    "admin:login",
    "admin:logout",
    "admin_password_reset",
    "password_reset_done",
    "password_reset_confirm",
    "password_reset_complete",
    "openid_connect_login",
    "openid_connect_callback",
    "openid_connect_departure",
    "openid_connect_back_channel_logout",
    "openid_connect_send_invitation",
    "openid_connect_sign_out",
    "openid_connect_signed_out",
    "mfa_authenticate",
    "healthz",
    "livez",
}


class NoOrganizationCase(TestCase):
    def setUp(self):
        self.nora = create_user("nora", email=EMAIL)

    def sign_in(self, client=None, **extra):
        data = {"username": "nora", "password": "secret", "next": "/admin/"}
        return (client or self.client).post(LOGIN, data | extra)


class SignInTests(NoOrganizationCase):
    @tag("D2")
    def test_the_right_password_leads_to_a_page_that_says_so(self):
        self.assertRedirects(self.sign_in(), PAGE)
        page = self.client.get(PAGE)
        self.assertContains(page, "You are signed in as <strong>nora</strong>")
        self.assertContains(page, NOTICE)
        self.assertContains(page, "Need access?")
        self.assertContains(page, "Sign out")
        self.assertContains(page, reverse("admin:account"))

    def test_names_the_contact(self):
        self.sign_in()
        with override_settings(ACCESS_CONTACT="help@example.com"):
            self.assertContains(self.client.get(PAGE), "mailto:help@example.com")

    @tag("D31")
    def test_the_sign_in_is_recorded(self):
        self.sign_in()
        events = AuditEvent.objects.about(self.nora).order_by("pk")
        self.assertEqual(events.last().event, "signed in")

    @tag("D2")
    def test_a_wrong_password_says_nothing_of_it(self):
        response = self.sign_in(password="wrong")
        self.assertNotContains(response, NOTICE)
        self.assertNotIn("_auth_user_id", self.client.session)

    @tag("D2")
    def test_leads_to_the_page_even_if_another_one_was_asked_for(self):
        acme = create_organization()
        for key in (acme.pk, 0):
            page = f"/admin/orgadmin/organization/{key}/change/"
            self.assertRedirects(self.sign_in(Client(), next=page), PAGE)

    def test_leads_to_a_page_about_the_own_account(self):
        page = reverse("confirm_email")
        self.assertRedirects(self.sign_in(next=page), page)

    def test_the_sign_in_page_still_answers_with_a_form(self):
        self.sign_in()
        for url in (LOGIN, f"{LOGIN}?next=/admin/"):
            page = self.client.get(url)
            self.assertContains(page, NOTICE)
            self.assertContains(page, f'href="{PAGE}"')
            self.assertContains(page, 'name="password"')
        create_superuser("root")
        response = self.sign_in(username="root")
        self.assertRedirects(response, "/admin/")

    def test_the_page_is_for_people_who_are_signed_in_and_have_no_access(self):
        self.assertRedirects(self.client.get(PAGE), f"{LOGIN}?next={PAGE}")
        self.sign_in()
        set_role(create_organization(), [self.nora], REVIEWER)
        self.assertRedirects(self.client.get(PAGE), "/admin/")

    def test_a_password_reset_leads_to_it(self):
        self.client.post("/admin/password_reset/", {"email": EMAIL})
        link = read_link()
        form_url = self.client.get(link, follow=True).redirect_chain[-1][0]
        new = "correct horse battery"
        data = {"new_password1": new, "new_password2": new}
        done = self.client.post(form_url, data, follow=True)
        self.assertContains(done, f'href="{LOGIN}"')
        self.assertRedirects(self.sign_in(password=new), PAGE)


class LostAccessTests(NoOrganizationCase):
    @tag("D4")
    def test_whoever_loses_the_last_organization_is_told_on_the_next_page(self):
        acme = create_organization()
        set_role(acme, [self.nora], ADMIN)
        self.sign_in()
        self.assertEqual(self.client.get("/admin/").status_code, 200)
        set_role(acme, [self.nora], None)
        page = f"/admin/orgadmin/organization/{acme.pk}/change/"
        response = self.client.get(page, follow=True)
        self.assertEqual(response.redirect_chain, [(f"{LOGIN}?next={page}", 302)])
        self.assertContains(response, NOTICE)
        self.assertContains(self.client.get(PAGE), "nora")


class InvitationsTests(NoOrganizationCase):
    def setUp(self):
        super().setUp()
        self.acme = create_organization("Acme")
        self.root = create_superuser()
        self.invitation = invitations.invite(
            self.acme, "Nora@Example.com", REVIEWER, actor=self.root
        )
        self.sign_in()

    def send_again(self, invitation):
        data = {"invitation": invitation.pk}
        return self.client.post(PAGE, data, follow=True)

    @tag("D19")
    def test_are_hidden_until_the_address_is_verified(self):
        page = self.client.get(PAGE)
        self.assertNotContains(page, "Acme")
        self.assertContains(page, reverse("confirm_email"))
        self.assertContains(self.send_again(self.invitation), "no longer exists")
        self.assertEqual(mail.outbox, [])
        User.objects.get(pk=self.nora.pk).verify_email()
        self.assertContains(self.client.get(PAGE), "invited to “Acme” as Reviewer")

    @tag("D19")
    def test_an_unverified_address_looks_the_same_without_an_invitation(self):
        with_invitation = self.client.get(PAGE).content
        Invitation.objects.all().delete()
        without = self.client.get(PAGE).content
        token = rb'name="csrfmiddlewaretoken" value="\w+"'
        self.assertEqual(
            re.sub(token, b"", with_invitation), re.sub(token, b"", without)
        )

    def test_can_be_sent_again(self):
        User.objects.get(pk=self.nora.pk).verify_email()
        response = self.send_again(self.invitation)
        self.assertContains(response, f"A link is on its way to “{EMAIL}”.")
        self.assertEqual(mail.outbox[-1].to, [EMAIL])
        link = read_link()
        self.client.post(link)
        self.assertEqual(self.client.get("/admin/").status_code, 200)

    @tag("H4")
    def test_are_not_sent_without_limit(self):
        User.objects.get(pk=self.nora.pk).verify_email()
        for _attempt in range(throttle.LIMIT):
            self.send_again(self.invitation)
        sent = len(mail.outbox)
        self.assertContains(self.send_again(self.invitation), "Too many emails")
        self.assertEqual(len(mail.outbox), sent)

    def answer(self, invitation, answer):
        data = {"invitation": invitation.pk, answer: "1"}
        return self.client.post(PAGE, data, follow=True)

    def test_one_press_accepts(self):
        User.objects.get(pk=self.nora.pk).verify_email()
        response = self.answer(self.invitation, "accept")
        self.assertContains(response, "You now have access to “Acme”.")
        self.assertEqual(self.acme.reviewer.user_set.get(), self.nora)
        response = self.answer(self.invitation, "accept")
        self.assertContains(response, "no longer exists")

    def test_one_press_declines(self):
        User.objects.get(pk=self.nora.pk).verify_email()
        response = self.answer(self.invitation, "decline")
        self.assertContains(response, "You declined the invitation to “Acme”.")
        self.assertFalse(Invitation.objects.exists())
        self.assertFalse(self.nora.groups.exists())
        event = MembershipEvent.objects.first()
        self.assertEqual(event.event, Event.REVOKED)
        self.assertEqual(event.reason, "The invited person declined.")
        self.assertIsNone(event.actor_key)
        self.assertContains(self.answer(self.invitation, "decline"), "no longer exists")

    @tag("D19")
    def test_nobody_answers_without_a_verified_address(self):
        for answer in ("accept", "decline"):
            response = self.answer(self.invitation, answer)
            self.assertContains(response, "no longer exists")
        self.assertTrue(Invitation.objects.exists())
        self.assertFalse(self.nora.groups.exists())

    @tag("D19")
    def test_members_answer_on_the_home_page(self):
        beta = create_organization("Beta")
        set_role(beta, [self.nora], REVIEWER)
        self.assertNotContains(self.client.get("/admin/"), "You are invited")
        User.objects.get(pk=self.nora.pk).verify_email()
        home = self.client.get("/admin/")
        self.assertContains(home, "You are invited to “Acme” as Reviewer.")
        self.answer(self.invitation, "accept")
        self.assertEqual(self.acme.reviewer.user_set.get(), self.nora)

    def test_says_why_an_invitation_cannot_be_accepted(self):
        User.objects.get(pk=self.nora.pk).verify_email()
        self.root.is_superuser = False
        create_superuser("other")
        self.root.save()
        response = self.answer(self.invitation, "accept")
        self.assertContains(response, "can no longer give you this role")
        self.assertFalse(self.nora.groups.exists())

    @tag("D19")
    def test_of_other_people_look_like_missing_ones(self):
        User.objects.get(pk=self.nora.pk).verify_email()
        other = invitations.invite(
            self.acme, "other@example.com", ADMIN, actor=self.root
        )
        missing = mock.Mock(pk=0)
        for invitation in (other, missing):
            self.assertContains(self.send_again(invitation), "no longer exists")
        self.assertEqual(mail.outbox, [])
        self.assertNotContains(self.client.get(PAGE), "other@example.com")


class OwnPagesTests(NoOrganizationCase):
    """What people without access can open, beside what everyone can open."""

    def setUp(self):
        super().setUp()
        self.acme = create_organization()
        self.visitor = Client()
        self.client.force_login(self.nora)

    def test_they_change_their_password(self):
        self.sign_in()
        new = "correct horse battery"
        data = {
            "old_password": "secret",
            "new_password1": new,
            "new_password2": new,
        }
        response = self.client.post("/admin/password_change/", data, follow=True)
        self.assertContains(response, "Your password was changed")
        self.assertTrue(User.objects.get(pk=self.nora.pk).check_password(new))

    def test_they_see_their_activity_and_sign_out_elsewhere(self):
        elsewhere = Client()
        self.sign_in(elsewhere)
        self.sign_in()
        self.assertContains(self.client.get("/admin/activity/"), "Signed in")
        response = self.client.post("/admin/sign-out-elsewhere/", follow=True)
        self.assertContains(response, "You were signed out on all your other devices.")
        self.assertRedirects(response, reverse("admin:account"))
        self.assertEqual(elsewhere.get(PAGE).status_code, 302)

    def test_they_confirm_their_address(self):
        self.sign_in()
        self.client.post(reverse("confirm_email"))
        link = read_link()
        self.client.post(link)
        self.assertTrue(User.objects.get(pk=self.nora.pk).has_verified_email)

    def test_they_sign_out(self):
        self.sign_in()
        self.client.post("/admin/logout/")
        self.assertNotIn("_auth_user_id", self.client.session)

    @override_settings(SECOND_FACTOR="optional")
    def test_they_see_their_second_factor(self):
        self.sign_in()
        page = self.client.get("/admin/second-factor/")
        self.assertContains(page, "You sign in with your password only.")
        self.assertFalse(Authenticator.objects.exists())

    @tag("D2", "D3")
    def test_everything_else_answers_as_for_visitors(self):
        """All URLs of the site, with keys that exist and that do not."""
        checked = 0
        for name, path in list_paths(self.acme.pk):
            if name in OWN_PAGES | PUBLIC:
                continue
            for method in ("get", "post"):
                with self.subTest(method=method, path=path):
                    expected = describe(getattr(self.visitor, method)(path))
                    actual = describe(getattr(self.client, method)(path))
                    self.assertEqual(actual, expected)
                    checked += 1
        self.assertGreater(checked, 150)

    @tag("D2")
    def test_own_pages_exist_and_name_no_organization(self):
        names = {name for name, _path in list_paths(self.acme.pk)}
        self.assertLessEqual(OWN_PAGES - names, set())
        for name, path in list_paths(self.acme.pk):
            if name in OWN_PAGES and name != "invitation":
                response = self.client.get(path)
                self.assertNotContains(response, "Acme", response.status_code)
                context = response.context or {}
                self.assertEqual(context.get("available_apps", []), [], path)


def list_paths(pk):
    """Yield (name of the URL, path) of all pages below /admin/, once for each key."""
    for route in walk():
        for key in (str(pk), "0"):
            path = re.sub(r"<\w+>", key, simplify(route))
            yield resolve(path).view_name, path


def describe(response):
    return response.status_code, response.headers.get("Location")
