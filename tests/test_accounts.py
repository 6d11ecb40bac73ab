import re
from datetime import timedelta

from django.core import mail
from django.test import TestCase, override_settings, tag
from django.utils import timezone

from orgadmin.accounts import throttle
from orgadmin.models import Invitation, User
from orgadmin.people import invitations, mail as people_mail
from tests.factories import (
    ADMIN,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)

EMAIL = "nora@example.com"
PASSWORD = "correct horse battery"
# What the form for a new person sends.
NORA = {"new_password1": PASSWORD, "new_password2": PASSWORD, "first_name": "Nora"}
DEAD_LINK = "This link no longer works"


def read_link():
    """Return the path of the link in the last message that was sent."""
    return re.search(r"https?://[^/\s]+(/\S+)", mail.outbox[-1].body)[1]


class AcceptTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")
        self.admin = create_user("ada", admin_of=[self.acme])
        self.change_url = f"/admin/orgadmin/organization/{self.acme.pk}/change/"

    def invite(self, email=EMAIL, role=ADMIN):
        """Send an invitation, and return the path of its link."""
        invitation = invitations.invite(self.acme, email, role, actor=self.admin)
        people_mail.send_invitation(invitation)
        return read_link()

    def assert_dead(self, link):
        self.assertContains(self.client.get(link), DEAD_LINK)
        self.assertContains(self.client.post(link, NORA), DEAD_LINK)

    def assert_no_account(self):
        self.assertFalse(User.objects.filter(email=EMAIL).exists())

    def test_looking_at_an_invitation_does_not_accept_it(self):
        self.assertContains(self.client.get(self.invite()), EMAIL)
        self.assert_no_account()

    def test_a_new_person_chooses_a_password_and_sees_the_organization(self):
        link = self.invite()
        response = self.client.post(link, NORA, follow=True)
        self.assertRedirects(response, self.change_url)
        self.assertContains(response, "Acme")
        user = User.objects.get(email=EMAIL)
        self.assertEqual(user.username, EMAIL)
        self.assertEqual(user.first_name, "Nora")
        self.assertEqual(list(user.groups.all()), [self.acme.admin])
        self.assert_dead(link)

    def test_a_weak_password_is_refused_next_to_the_field(self):
        weak = {"new_password1": "123", "new_password2": "123"}
        response = self.client.post(self.invite(), weak)
        self.assertContains(response, "This password is too short")
        self.assert_no_account()

    def test_people_with_a_password_accept_and_then_sign_in(self):
        user = create_user("nora", email="Nora@Example.com")
        response = self.client.post(self.invite(), NORA)
        self.assertRedirects(response, self.change_url, fetch_redirect_response=False)
        self.assertNotIn("_auth_user_id", self.client.session)
        self.assertEqual(list(user.groups.all()), [self.acme.admin])
        self.assertTrue(User.objects.get(pk=user.pk).check_password("secret"))

    def test_an_account_without_a_password_gets_one(self):
        User.objects.create_user("nora", email=EMAIL, last_name="Old")
        self.client.post(self.invite(), NORA)
        user = User.objects.get(username="nora")
        self.assertTrue(user.check_password(PASSWORD))
        self.assertEqual(list(user.groups.all()), [self.acme.admin])

    def test_an_address_that_only_looks_the_same_is_another(self):
        user = User.objects.create_user("mike", email="mike@example.org")
        self.client.post(self.invite("mıke@example.org"), NORA)
        self.assertFalse(user.groups.exists())
        self.assertFalse(User.objects.get(pk=user.pk).has_usable_password())

    def test_a_username_that_is_taken_gets_a_number(self):
        create_user(EMAIL)
        self.client.post(self.invite(), NORA)
        self.assertEqual(User.objects.get(email=EMAIL).username, f"{EMAIL}-2")

    def test_a_replaced_invitation_is_dead(self):
        first = self.invite()
        self.invite()
        self.assert_dead(first)
        self.assert_no_account()

    def test_a_forged_link_is_dead(self):
        self.assert_dead(self.invite()[:-3] + "x/")
        self.assert_no_account()

    def test_an_invitation_expires(self):
        link = self.invite()
        expired = timezone.now() - timedelta(days=7, minutes=1)
        Invitation.objects.update(sent_at=expired)
        self.assert_dead(link)
        self.assert_no_account()

    def test_a_revoked_invitation_is_dead(self):
        link = self.invite()
        invitations.revoke(Invitation.objects.get(), actor=self.admin)
        self.assert_dead(link)
        self.assert_no_account()

    @tag("C9")
    def test_is_dead_while_the_person_who_sent_it_could_not_assign_the_role(self):
        link = self.invite()
        set_role(self.acme, [self.admin], REVIEWER)
        self.assertContains(self.client.post(link, NORA), DEAD_LINK)
        set_role(self.acme, [self.admin], ADMIN)
        User.objects.filter(pk=self.admin.pk).update(is_active=False)
        self.assertContains(self.client.post(link, NORA), DEAD_LINK)
        self.admin.delete()
        self.assertContains(self.client.post(link, NORA), DEAD_LINK)
        self.assert_no_account()

    def test_an_inactive_account_gets_no_role(self):
        user = create_user("nora", email=EMAIL, is_active=False)
        self.assert_dead(self.invite())
        self.assertFalse(user.groups.exists())

    def test_does_not_turn_the_last_admin_into_a_reviewer(self):
        User.objects.filter(pk=self.admin.pk).update(email="ada@example.com")
        link = self.invite("ada@example.com", REVIEWER)
        self.assertContains(self.client.post(link), DEAD_LINK)
        self.assertEqual(list(self.admin.groups.all()), [self.acme.admin])

    def test_signs_in_the_new_person_in_place_of_anyone_else(self):
        self.client.force_login(create_superuser())
        self.client.post(self.invite(), NORA)
        user = User.objects.get(email=EMAIL)
        self.assertEqual(self.client.session["_auth_user_id"], str(user.pk))


@override_settings(BASE_URL="https://orgs.example.com")
class ForgottenPasswordTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")
        self.anna = create_user("anna", email="anna@example.com", admin_of=[self.acme])

    def ask(self, email):
        return self.client.post("/admin/password_reset/", {"email": email}, follow=True)

    def test_the_sign_in_page_leads_to_it(self):
        self.assertContains(self.client.get("/admin/login/"), "/admin/password_reset/")

    def test_sends_a_link_that_sets_a_new_password(self):
        self.ask("anna@example.com")
        self.assertIn("https://orgs.example.com/admin/reset/", mail.outbox[0].body)
        page = self.client.get(read_link(), follow=True)
        [form_url, _status] = page.redirect_chain[-1]
        data = {"new_password1": PASSWORD, "new_password2": PASSWORD}
        self.assertContains(
            self.client.post(form_url, data, follow=True), "Your password has been set"
        )
        self.anna.refresh_from_db()
        self.assertTrue(self.anna.check_password(PASSWORD))

    @tag("C5")
    def test_the_page_does_not_reveal_whether_an_address_is_known(self):
        known = self.ask("anna@example.com")
        unknown = self.ask("nobody@example.com")
        self.assertEqual(known.content, unknown.content)
        self.assertEqual(len(mail.outbox), 1)

    def test_sends_a_pending_invitation_again(self):
        invitations.invite(self.acme, EMAIL, REVIEWER, actor=self.anna)
        self.ask("Nora@example.com")
        response = self.client.get(read_link())
        self.assertEqual(response.status_code, 200)
        self.assertContains(response, "Acme")
        Invitation.objects.update(sent_at=timezone.now() - timedelta(days=8))
        self.ask(EMAIL)
        self.assertEqual(len(mail.outbox), 1)

    def test_sends_nothing_to_inactive_accounts(self):
        User.objects.update(is_active=False)
        self.ask("anna@example.com")
        self.assertEqual(mail.outbox, [])

    def test_does_not_flood_a_mailbox(self):
        for _attempt in range(throttle.LIMIT + 5):
            self.ask("anna@example.com")
        self.assertEqual(len(mail.outbox), throttle.LIMIT)
