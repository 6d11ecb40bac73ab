"""Accepting an invitation with a company account."""

from allauth.socialaccount.models import SocialAccount
from django.test import Client, tag

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.models import Invitation, User
from orgadmin.people.invitations import invite
from tests.factories import ADMIN, REVIEWER, create_organization, create_user, set_role
from tests.identity import leave
from tests.mailing import read_link, send_invitation
from tests.test_company import CALLBACK, SIGN_IN, CompanyCase

EMAIL = "nora@example.com"


class InvitationCase(CompanyCase):
    def setUp(self):
        super().setUp()
        self.beta = create_organization("Beta")
        set_role(self.beta, [self.ada], ADMIN)
        self.page = self.invite()

    def invite(self, email=EMAIL):
        """Invite someone, and return the address in the link."""
        invitation = invite(self.beta, email, REVIEWER, actor=self.ada)
        send_invitation(invitation)
        return read_link()

    def accept(self, page=None, client=None, **claims):
        """Press the button on the page of an invitation, and return the next page."""
        client = client or self.client
        url = leave(client, SIGN_IN, {"next": page or self.page})
        answer = self.visit(url, **{"sub": "nora", "email": EMAIL, **claims})
        return client.get(CALLBACK, answer, follow=True)

    def assert_nothing_accepted(self):
        self.assertEqual(Invitation.objects.count(), 1)
        self.assertFalse(self.beta.reviewer.user_set.exists())
        self.assertFalse(SocialAccount.objects.exists())


class AcceptTests(InvitationCase):
    def test_the_page_offers_it_before_the_password(self):
        text = self.client.get(self.page).content.decode()
        button = text.index("Accept with Example")
        self.assertLess(button, text.index('name="new_password1"'))

    def test_the_page_for_people_with_an_account_offers_it_first(self):
        create_user("nora", email=EMAIL)
        text = self.client.get(self.page).content.decode()
        button = text.index("Sign in with Example")
        self.assertLess(button, text.index('value="Sign in"'))

    @tag("D18")
    def test_a_new_person_gets_an_account_without_a_password(self):
        page = self.accept()
        self.assertContains(page, "You now have access to “Beta”.")
        nora = User.objects.get(email=EMAIL)
        self.assertFalse(nora.has_usable_password())
        self.assertTrue(nora.has_verified_email)
        self.assertEqual([*self.beta.reviewer.user_set.all()], [nora])
        self.assertEqual(SocialAccount.objects.get().user, nora)
        self.assertEqual(self.client.session["_auth_user_id"], str(nora.pk))
        self.assert_recorded(SecurityEvent.PROVIDER_LINKED, nora)

    def test_the_next_sign_in_needs_no_link(self):
        self.accept()
        self.client.logout()
        self.assert_signed_in(
            self.come(sub="nora", email=EMAIL), User.objects.get(email=EMAIL)
        )

    def test_the_page_leads_to_the_organization_afterwards(self):
        self.accept()
        response = self.client.get(self.page)
        page = f"/admin/orgadmin/organization/{self.beta.pk}/overview/"
        self.assertRedirects(response, page)

    @tag("D18")
    def test_an_account_that_nobody_has_used_is_taken_over(self):
        nora = create_user("nora", email=EMAIL)
        nora.set_unusable_password()
        nora.save()
        self.accept()
        self.assertEqual([*self.beta.reviewer.user_set.all()], [nora])
        self.assertEqual(SocialAccount.objects.get().user, nora)

    def test_people_with_an_account_sign_in_and_then_accept(self):
        nora = create_user("nora", email=EMAIL)
        nora.verify_email()
        page = self.accept()
        self.assertRedirects(page, self.page)
        self.assertContains(page, "Accept invitation")
        self.assertFalse(self.beta.reviewer.user_set.exists())


class RefuseTests(InvitationCase):
    @tag("D18")
    def test_another_address_or_one_that_is_not_verified(self):
        cases = [
            {"email": "mallory@example.com"},
            {"email_verified": False},
            {"email": None},
            {"email": "\u017fora@example.com"},
        ]
        for claims in cases:
            with self.subTest(claims):
                page = self.accept(**claims)
                self.assertRedirects(page, f"/admin/login/?next={self.page}")
                self.assert_nothing_accepted()
                self.assertFalse(User.objects.filter(email=EMAIL).exists())

    @tag("D18")
    def test_without_the_link_there_is_no_account(self):
        for page in ("/admin/", "/admin/invitation/guessed/", "/admin/nothing/"):
            with self.subTest(page):
                self.assertContains(self.accept(page), "You have an invitation")
                self.assert_nothing_accepted()

    @tag("D18")
    def test_an_account_that_someone_uses_and_has_not_verified_is_not_taken_over(self):
        create_user("nora", email=EMAIL)
        self.assertRedirects(self.accept(), f"/admin/login/?next={self.page}")
        self.assert_nothing_accepted()

    @tag("D18")
    def test_an_account_that_is_deactivated(self):
        create_user("nora", email=EMAIL, is_active=False)
        self.accept()
        self.assert_nothing_accepted()

    @tag("D20")
    def test_a_link_that_was_used(self):
        self.accept()
        other = Client()
        User.objects.filter(email=EMAIL).delete()
        page = self.accept(client=other)
        self.assertContains(page, "You do not have an account here")

    @tag("D20")
    def test_an_invitation_whose_sender_has_lost_their_role_says_so(self):
        self.beta.admin.user_set.clear()
        page = self.accept()
        self.assertContains(page, "can no longer give you this role")
        self.assertFalse(User.objects.filter(email=EMAIL).exists())
        self.assert_nothing_accepted()
