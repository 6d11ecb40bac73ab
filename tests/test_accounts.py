import re
from datetime import timedelta

from django.core import mail
from django.test import TestCase, override_settings, tag
from django.utils import timezone

from orgadmin.accounts import throttle
from orgadmin.models import Invitation, User
from orgadmin.people import invitations, mail as people_mail

from .factories import (
    ADMIN,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)

PASSWORD = "correct horse battery"
NEW = {"new_password1": PASSWORD, "new_password2": PASSWORD, "first_name": "Nora"}


def read_link():
    """Return the path of the link in the mail that was sent last."""
    return re.search(r"https?://[^/\s]+(/\S+)", mail.outbox[-1].body)[1]


class AcceptTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")
        self.admin = create_user("ada", admin_of=[self.acme])
        self.change = f"/admin/orgadmin/organization/{self.acme.pk}/change/"

    def invite(self, email="nora@example.com", role=ADMIN):
        invitation = invitations.invite(self.acme, email, role, actor=self.admin)
        people_mail.send_invitation(invitation)
        return read_link()

    def assert_dead(self, link):
        for method in (self.client.get, self.client.post):
            self.assertContains(method(link, NEW), "This link does not work any more")

    def test_somebody_new_chooses_a_password_and_sees_the_organization(self):
        link = self.invite()
        self.assertContains(self.client.get(link), "nora@example.com")
        self.assertFalse(
            User.objects.filter(email="nora@example.com").exists()
        )  # a look accepts nothing
        response = self.client.post(link, NEW, follow=True)
        self.assertRedirects(response, self.change)
        self.assertContains(response, "Acme")
        user = User.objects.get(email="nora@example.com")
        self.assertEqual((user.username, user.first_name), ("nora@example.com", "Nora"))
        self.assertEqual(list(user.groups.all()), [self.acme.admin])
        self.assert_dead(link)

    def test_a_weak_password_is_refused_next_to_the_field(self):
        link = self.invite()
        response = self.client.post(
            link, {"new_password1": "123", "new_password2": "123"}
        )
        self.assertContains(response, "This password is too short")
        self.assertFalse(User.objects.filter(email="nora@example.com").exists())

    def test_whoever_has_an_account_accepts_and_signs_in(self):
        user = create_user("nora", email="Nora@Example.com")
        link = self.invite()
        response = self.client.post(link, NEW)
        self.assertRedirects(response, self.change, fetch_redirect_response=False)
        self.assertNotIn("_auth_user_id", self.client.session)
        self.assertEqual(list(user.groups.all()), [self.acme.admin])
        self.assertTrue(User.objects.get(pk=user.pk).check_password("secret"))

    def test_an_account_without_a_password_gets_one(self):
        User.objects.create_user("nora", email="nora@example.com", last_name="Old")
        self.client.post(self.invite(), NEW)
        user = User.objects.get(username="nora")
        self.assertTrue(user.check_password(PASSWORD))
        self.assertEqual(list(user.groups.all()), [self.acme.admin])

    def test_an_address_that_only_looks_alike_is_another(self):
        user = User.objects.create_user("mike", email="mike@example.org")
        self.client.post(self.invite("mıke@example.org"), NEW)
        self.assertFalse(user.groups.exists())
        self.assertFalse(User.objects.get(pk=user.pk).has_usable_password())

    def test_a_user_name_that_is_taken_gets_a_number(self):
        create_user("nora@example.com")
        self.client.post(self.invite(), NEW)
        self.assertEqual(
            User.objects.get(email="nora@example.com").username, "nora@example.com-2"
        )

    def test_a_link_that_is_withdrawn_replaced_too_old_or_forged_is_dead(self):
        first = self.invite()
        self.invite()
        self.assert_dead(first)
        link = self.invite()
        self.assert_dead(link[:-3] + "x/")
        Invitation.objects.update(sent_at=timezone.now() - timedelta(days=7, minutes=1))
        self.assert_dead(link)
        Invitation.objects.update(sent_at=timezone.now())
        invitations.revoke(Invitation.objects.get(), actor=self.admin)
        self.assert_dead(link)
        self.assertFalse(User.objects.filter(email="nora@example.com").exists())

    @tag("C9")
    def test_it_is_worth_nothing_once_who_sent_it_may_no_longer(self):
        link = self.invite()
        set_role(self.acme, [self.admin], REVIEWER)
        self.assertContains(
            self.client.post(link, NEW), "This link does not work any more"
        )
        set_role(self.acme, [self.admin], ADMIN)
        User.objects.filter(pk=self.admin.pk).update(is_active=False)
        self.assertContains(
            self.client.post(link, NEW), "This link does not work any more"
        )
        self.admin.delete()
        self.assertContains(
            self.client.post(link, NEW), "This link does not work any more"
        )
        self.assertFalse(User.objects.filter(email="nora@example.com").exists())

    def test_a_deactivated_account_stays_out(self):
        user = create_user("nora", email="nora@example.com", is_active=False)
        self.assert_dead(self.invite())
        self.assertFalse(user.groups.exists())

    def test_the_last_admin_is_not_turned_into_a_reviewer(self):
        User.objects.filter(pk=self.admin.pk).update(email="ada@example.com")
        self.assertContains(
            self.client.post(self.invite("ada@example.com", REVIEWER)),
            "does not work any more",
        )
        self.assertEqual(list(self.admin.groups.all()), [self.acme.admin])

    def test_signs_in_as_the_new_person_and_nobody_else(self):
        self.client.force_login(create_superuser())
        self.client.post(self.invite(), NEW)
        self.assertEqual(
            self.client.session["_auth_user_id"],
            str(User.objects.get(email="nora@example.com").pk),
        )


@override_settings(BASE_URL="https://orgs.example.com")
class ForgottenTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")
        self.anna = create_user("anna", email="anna@example.com", admin_of=[self.acme])

    def ask(self, email):
        return self.client.post("/admin/password_reset/", {"email": email}, follow=True)

    def test_the_sign_in_page_leads_to_it_and_a_link_sets_a_new_password(self):
        self.assertContains(self.client.get("/admin/login/"), "/admin/password_reset/")
        self.ask("anna@example.com")
        self.assertIn("https://orgs.example.com/admin/reset/", mail.outbox[0].body)
        page = self.client.get(read_link(), follow=True)
        address = page.redirect_chain[-1][0]
        data = {"new_password1": PASSWORD, "new_password2": PASSWORD}
        self.assertContains(
            self.client.post(address, data, follow=True), "Your password has been set"
        )
        self.anna.refresh_from_db()
        self.assertTrue(self.anna.check_password(PASSWORD))

    @tag("C5")
    def test_the_answer_is_the_same_whoever_has_the_address(self):
        answers = {
            self.ask(email).content
            for email in ("anna@example.com", "nobody@example.com")
        }
        self.assertEqual(len(answers), 1)
        self.assertEqual(len(mail.outbox), 1)

    def test_a_pending_invitation_is_sent_again(self):
        invitations.invite(self.acme, "nora@example.com", REVIEWER, actor=self.anna)
        self.ask("Nora@example.com")
        self.assertEqual(self.client.get(read_link()).status_code, 200)
        self.assertContains(self.client.get(read_link()), "Acme")
        Invitation.objects.update(sent_at=timezone.now() - timedelta(days=8))
        self.ask("nora@example.com")
        self.assertEqual(len(mail.outbox), 1)

    def test_inactive_accounts_get_nothing(self):
        User.objects.update(is_active=False)
        self.ask("anna@example.com")
        self.assertEqual(mail.outbox, [])

    def test_a_mailbox_is_not_flooded(self):
        for _ in range(throttle.LIMIT + 5):
            self.ask("anna@example.com")
        self.assertEqual(len(mail.outbox), throttle.LIMIT)
