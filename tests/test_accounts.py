import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256
from unittest import mock, skipUnless

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import Permission
from django.core import mail, signing
from django.db import connection, models, transaction
from django.test import (
    Client,
    TestCase,
    TransactionTestCase,
    override_settings,
    tag,
)
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from django_tasks_db.models import DBTaskResult

from orgadmin.accounts import confirm_email, throttle
from orgadmin.accounts.forms import AcceptInvitationForm, ResetPasswordForm
from orgadmin.models import (
    AcceptedInvitation,
    AuditEvent,
    Invitation,
    SignInAttempt,
    User,
)
from orgadmin.models.sign_in_attempt import make_key
from orgadmin.people import invitations
from orgadmin.people.membership import lock
from orgadmin.people.worker import Worker, run_task
from tests.factories import (
    ADMIN,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    grant,
    set_role,
)
from tests.mailing import (
    fail_to_send,
    queues_mail,
    read_link,
    send_invitation,
    work,
    work_later,
)
from tests.test_matrix import read

EMAIL = "nora@example.com"
PASSWORD = "correct horse battery"
# What the form for a new person sends.
NORA = {"new_password1": PASSWORD, "new_password2": PASSWORD, "first_name": "Nora"}
DEAD_LINK = "This link no longer works"
LOGIN = "/admin/login/"
CONFIRM_EMAIL = "/admin/confirm-email/"
VISITORS = ("nobody", "its owner", "someone else")


def create_account(state):
    """Create an account in a state in which an invitation can meet it, if any."""
    if state == "no account":
        return
    user = User.objects.create_user("nora", email=EMAIL)
    organization = create_organization("Elsewhere")
    if state == "has a password":
        user.set_password("secret")
    elif state == "is deactivated":
        user.is_active = False
    elif state == "is staff":
        user.is_staff = True
    elif state == "is a superuser":
        user.is_superuser = True
    elif state == "has signed in":
        user.last_login = timezone.now()
    elif state == "has a company account":
        SocialAccount.objects.create(user=user, provider="company", uid="1")
    elif state == "has a second factor":
        Authenticator.objects.create(user=user, type="totp", data={})
    elif state == "has a role":
        set_role(organization, [user], REVIEWER)
    elif state == "has a permission":
        permission = Permission.objects.get(codename="view_organization")
        user.user_permissions.add(permission)
    elif state == "has an object permission":
        grant(user, "view_organization", organization)
    else:
        assert state == "is unused", state
    user.save()


# What happens when someone opens the link and presses the button: {state of the account
# with the invited address: (nobody is signed in, its owner is, someone else is)}.
OUTCOMES = {
    "no account": ("choose password", None, "sign out"),
    "is unused": ("choose password", "accept", "sign out"),
    "has a password": ("sign in", "accept", "sign out"),
    "has signed in": ("sign in", "accept", "sign out"),
    "has a company account": ("sign in", "accept", "sign out"),
    "has a second factor": ("sign in", "accept", "sign out"),
    "has a role": ("sign in", "accept", "sign out"),
    "has a permission": ("sign in", "accept", "sign out"),
    "has an object permission": ("sign in", "accept", "sign out"),
    "is staff": ("sign in", "accept", "sign out"),
    "is a superuser": ("sign in", "accept", "sign out"),
    "is deactivated": ("dead", "dead", "dead"),
}
TEXTS = {
    "choose password": "Choose a password.",
    "sign in": "Sign in to it, then accept the invitation.",
    "accept": "You are signed in as <strong>nora</strong>.",
    "sign out": "You are signed in as <strong>other</strong>, and this account",
    "dead": DEAD_LINK,
}


class InvitationCase(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")
        self.admin = create_user("ada", admin_of=[self.acme])
        self.record_url = f"/admin/orgadmin/organization/{self.acme.pk}/overview/"

    def invite(self, email=EMAIL, role=ADMIN):
        """Send an invitation, and return the path of its link."""
        invitation = invitations.invite(self.acme, email, role, actor=self.admin)
        send_invitation(invitation)
        return read_link()

    def assert_dead(self, link, reason=""):
        for response in (self.client.get(link), self.client.post(link, NORA)):
            self.assertContains(response, DEAD_LINK)
            self.assertContains(response, reason)

    def assert_no_account(self):
        self.assertFalse(User.objects.filter(email=EMAIL).exists())


class WhoAcceptsTests(InvitationCase):
    """The table of OUTCOMES."""

    @tag("D18")
    def test_only_the_owner_of_an_account_accepts_for_it(self):
        for state, outcomes in OUTCOMES.items():
            for visitor, outcome in zip(VISITORS, outcomes):
                if outcome is not None:
                    with self.subTest(state=state, visitor=visitor):
                        self.check_and_undo(state, visitor, outcome)

    def check_and_undo(self, state, visitor, outcome):
        savepoint = transaction.savepoint()
        try:
            self.check(state, visitor, outcome)
        finally:
            transaction.savepoint_rollback(savepoint)

    def check(self, state, visitor, outcome):
        create_account(state)
        self.client.logout()
        if visitor == "its owner":
            self.client.force_login(User.objects.get(email=EMAIL))
        elif visitor == "someone else":
            self.client.force_login(create_user("other", email="other@example.com"))
        link = self.invite()
        self.assertContains(self.client.get(link), TEXTS[outcome])
        self.client.post(link, NORA)
        user = User.objects.filter(email=EMAIL).first()
        has_accepted = outcome in ("choose password", "accept")
        self.assertEqual(self.acme.admin.user_set.count(), 1 + has_accepted)
        if user is not None:
            self.assertEqual(user.groups.contains(self.acme.admin), has_accepted)
            self.assertEqual(user.has_verified_email, has_accepted)
            got_password = user.check_password(PASSWORD)
            self.assertEqual(got_password, outcome == "choose password")

    @tag("D18")
    def test_gives_no_password_to_a_superuser_of_the_company(self):
        root = User.objects.create_superuser("root", email=EMAIL)
        SocialAccount.objects.create(user=root, provider="company", uid="1")
        self.client.post(self.invite(role=REVIEWER), NORA)
        self.assertFalse(User.objects.get(pk=root.pk).has_usable_password())
        self.assertNotIn("_auth_user_id", self.client.session)

    @tag("D19")
    def test_gives_no_role_to_a_puppet_with_the_invited_address(self):
        link = self.invite()
        puppet = create_user("puppet", email="puppet@example.com")
        User.objects.filter(pk=puppet.pk).update(email=EMAIL)
        # The invited person opens the link and presses the button.
        self.client.post(link, NORA)
        self.assertFalse(puppet.groups.exists())
        self.assertFalse(User.objects.get(pk=puppet.pk).has_verified_email)
        self.assertTrue(User.objects.get(pk=puppet.pk).check_password("secret"))

    @tag("D18")
    def test_an_account_that_is_used_in_the_meantime_gets_no_password(self):
        create_account("is unused")
        link = self.invite()
        with mock.patch.object(
            AcceptInvitationForm, "is_valid", autospec=True, side_effect=use_account
        ):
            response = self.client.post(link, NORA)
        self.assertContains(response, "has changed")
        user = User.objects.get(email=EMAIL)
        self.assertFalse(user.has_usable_password())
        self.assertFalse(user.groups.exists())


def use_account(form):
    """Validate a form, while its user signs in with the company's account."""
    SocialAccount.objects.create(user=form.user, provider="company", uid="1")
    return not form.errors


class AcceptTests(InvitationCase):
    def test_looking_at_an_invitation_does_not_accept_it(self):
        self.assertContains(self.client.get(self.invite()), EMAIL)
        self.assert_no_account()

    def test_a_new_person_chooses_a_password_and_sees_the_organization(self):
        link = self.invite()
        response = self.client.post(link, NORA, follow=True)
        self.assertRedirects(response, self.record_url)
        self.assertContains(response, "You now have access to “Acme”.")
        user = User.objects.get(email=EMAIL)
        self.assertEqual(user.username, EMAIL)
        self.assertEqual(user.first_name, "Nora")
        self.assertTrue(user.has_verified_email)
        self.assertEqual(list(user.groups.all()), [self.acme.admin])
        self.client.logout()
        self.assertRedirects(self.client.post(link, NORA), f"{LOGIN}?next={link}")

    def test_a_weak_password_is_refused_next_to_the_field(self):
        weak = {"new_password1": "123", "new_password2": "123"}
        response = self.client.post(self.invite(), weak)
        self.assertContains(response, "This password is too short")
        self.assert_no_account()

    @tag("D18")
    def test_people_with_an_account_sign_in_and_then_accept(self):
        user = create_user("nora", email="Nora@Example.com")
        link = self.invite()
        page = self.client.get(link)
        self.assertContains(page, f'name="next" value="{link}"')
        credentials = {"username": "nora", "password": "secret", "next": link}
        # They don't belong to an organization, but are still led to the invitation.
        self.assertRedirects(self.client.post(LOGIN, credentials), link)
        response = self.client.post(link)
        self.assertRedirects(response, self.record_url)
        self.assertEqual(list(user.groups.all()), [self.acme.admin])
        user.refresh_from_db()
        self.assertTrue(user.has_verified_email)
        self.assertTrue(user.check_password("secret"))

    @tag("D18")
    def test_people_who_sign_in_after_it_is_revoked_have_no_access(self):
        user = create_user("nora", email=EMAIL)
        link = self.invite()
        invitations.revoke(Invitation.objects.get(), actor=self.admin)
        self.client.post(LOGIN, {"username": "nora", "password": "secret"})
        self.assert_dead(link)
        self.assertFalse(user.groups.exists())
        self.assertEqual(self.client.get("/admin/").status_code, 302)

    @tag("D18")
    def test_someone_else_signs_out_and_continues(self):
        self.client.force_login(create_superuser())
        link = self.invite()
        page = self.client.get(link)
        self.assertContains(page, "You are signed in as <strong>root</strong>")
        self.client.post(link, NORA)
        self.assert_no_account()
        response = self.client.post("/admin/logout/", {"next": link})
        self.assertRedirects(response, link)
        self.client.post(link, NORA)
        user = User.objects.get(email=EMAIL)
        self.assertEqual(self.client.session["_auth_user_id"], str(user.pk))

    def test_an_account_that_nobody_used_gets_a_password(self):
        User.objects.create_user("nora", email=EMAIL, last_name="Old")
        self.client.post(self.invite(), NORA)
        user = User.objects.get(username="nora")
        self.assertTrue(user.check_password(PASSWORD))
        self.assertEqual(list(user.groups.all()), [self.acme.admin])

    @tag("D19")
    def test_an_address_that_only_looks_the_same_is_another(self):
        user = User.objects.create_user("mike", email="mike@example.org")
        self.client.post(self.invite("mıke@example.org"), NORA)
        self.assertFalse(user.groups.exists())
        self.assertFalse(User.objects.get(pk=user.pk).has_usable_password())

    def test_a_username_that_is_taken_gets_a_number(self):
        create_user(EMAIL)
        self.client.post(self.invite(), NORA)
        self.assertEqual(User.objects.get(email=EMAIL).username, f"{EMAIL}-2")

    @tag("C9")
    def test_is_dead_while_the_person_who_sent_it_could_not_assign_the_role(self):
        link = self.invite()
        set_role(self.acme, [self.admin], REVIEWER)
        reason = "The person who invited you can no longer give you this role."
        self.assertContains(self.client.post(link, NORA), reason)
        set_role(self.acme, [self.admin], ADMIN)
        # Since this release, their invitations end at the same time. Earlier ones did
        # not, so they are refused here.
        models.QuerySet(User).filter(pk=self.admin.pk).update(is_active=False)
        self.assertContains(self.client.post(link, NORA), reason)
        Invitation.objects.update(invited_by=None)
        self.assertContains(self.client.post(link, NORA), reason)
        self.assert_no_account()

    def test_never_reduces_access(self):
        User.objects.filter(pk=self.admin.pk).update(email="ada@example.com")
        self.client.force_login(User.objects.get(pk=self.admin.pk))
        link = self.invite("ada@example.com", REVIEWER)
        response = self.client.post(link, follow=True)
        self.assertContains(response, "You keep your role in “Acme”: Admin.")
        self.assertEqual(list(self.admin.groups.all()), [self.acme.admin])
        self.assertFalse(Invitation.objects.exists())

    def test_turns_a_reviewer_into_an_admin(self):
        user = create_user("nora", email=EMAIL, reviewer_of=[self.acme])
        self.client.force_login(user)
        self.client.post(self.invite())
        self.assertEqual(list(user.groups.all()), [self.acme.admin])


class LinkTests(InvitationCase):
    """Each link has its own secret, works once, and expires."""

    @tag("D20")
    def test_only_a_hash_of_the_secret_is_stored(self):
        secret = self.invite().split("/")[-2]
        self.assertGreaterEqual(len(secret), 43)
        values = Invitation.objects.values_list().get()
        self.assertNotIn(secret, str(values))
        self.assertIn(sha256(secret.encode()).hexdigest(), values)

    @tag("D20")
    def test_a_link_does_not_open_a_later_invitation_with_the_same_key(self):
        link = self.invite()
        pk = Invitation.objects.get().pk
        Invitation.objects.all().delete()
        invitation = Invitation(
            pk=pk, organization=self.acme, email="new@example.com", role="admin"
        )
        invitation.invited_by = self.admin
        invitation.save()
        send_invitation(invitation)
        self.assert_dead(link)
        self.assertNotContains(self.client.get(link), "new@example.com")

    @tag("D20")
    def test_resending_ends_earlier_links(self):
        first = self.invite()
        send_invitation(Invitation.objects.get())
        self.assert_dead(first, "ask the person who invited you")
        self.assertContains(self.client.get(read_link()), "Choose a password.")

    @tag("D20")
    def test_a_replaced_invitation_is_dead(self):
        first = self.invite()
        self.invite()
        self.assert_dead(first)
        self.assert_no_account()

    @tag("D20")
    def test_strangers_learn_nothing_from_links_that_do_not_work(self):
        used = self.invite()
        self.client.post(used, NORA)
        self.client.force_login(create_user("other", admin_of=[self.acme]))
        revoked = self.invite("new@example.com")
        invitations.revoke(Invitation.objects.get(), actor=self.admin)
        forged = self.invite("other@example.com")[:-3] + "x/"
        earlier_release = signing.dumps(
            Invitation.objects.get().pk, salt="orgadmin.invitation"
        )
        links = [used, revoked, forged, f"/admin/invitation/{earlier_release}/"]
        pages = {self.client.get(link).content for link in links}
        self.assertEqual(len(pages), 1)
        text = (
            "ask the person who invited you, or another admin of the organization, for"
            " a new invitation"
        )
        self.assert_dead(forged, text)

    @tag("D20")
    def test_expires(self):
        link = self.invite()
        expired = timezone.now() - timedelta(days=7, minutes=1)
        Invitation.objects.update(sent_at=expired)
        self.assert_dead(link, "It has expired.")
        self.assert_no_account()

    def test_an_invitation_of_an_earlier_release_can_be_resent(self):
        self.acme.invitations.create(
            email=EMAIL, role="reviewer", invited_by=self.admin
        )
        send_invitation(Invitation.objects.get())
        self.client.post(read_link(), NORA)
        self.assertTrue(User.objects.get(email=EMAIL).has_verified_email)

    def test_sends_nothing_if_it_was_revoked_in_the_meantime(self):
        self.invite()
        invitation = Invitation.objects.get()
        invitations.revoke(Invitation.objects.get(), actor=self.admin)
        mail.outbox.clear()
        send_invitation(invitation)
        self.assertEqual(mail.outbox, [])


@tag("D40")
class UsedLinkTests(InvitationCase):
    """A used link opens the organization for the person who accepted the invitation."""

    def setUp(self):
        super().setUp()
        self.link = self.invite(role=REVIEWER)
        self.client.post(self.link, NORA)
        self.nora = User.objects.get(email=EMAIL)
        # Otherwise, the next page shows the message about the acceptance.
        self.client.get("/admin/")

    def assert_leads_to_organization(self):
        for response in (self.client.get(self.link), self.client.post(self.link)):
            self.assertRedirects(response, self.record_url)

    def assert_unknown(self):
        """Check that the response is that of a link that never existed."""
        used = self.client.get(self.link)
        never_existed = self.client.get("/admin/invitation/never-existed/")
        self.assertContains(used, DEAD_LINK)
        self.assertEqual(used.content, never_existed.content)

    def test_leads_its_owner_to_the_organization_also_with_another_role(self):
        self.assert_leads_to_organization()
        set_role(self.acme, [self.nora], ADMIN)
        self.assert_leads_to_organization()

    def test_asks_visitors_to_sign_in_and_then_leads_on(self):
        self.client.logout()
        response = self.client.get(self.link)
        self.assertRedirects(response, f"{LOGIN}?next={self.link}")
        credentials = {"username": EMAIL, "password": PASSWORD, "next": self.link}
        response = self.client.post(LOGIN, credentials, follow=True)
        self.assertRedirects(response, self.record_url)

    def test_visitors_do_not_learn_who_still_has_access(self):
        self.client.logout()
        set_role(self.acme, [self.nora], None)
        response = self.client.get(self.link)
        self.assertRedirects(response, f"{LOGIN}?next={self.link}")

    def test_leads_nobody_else_anywhere(self):
        others = {
            "admin": self.admin,
            "superuser": create_superuser(),
            "stranger": create_user("stranger"),
        }
        for name, user in others.items():
            with self.subTest(name=name):
                self.client.force_login(user)
                self.assert_unknown()

    def test_is_unknown_to_its_owner_after_the_access_has_ended(self):
        set_role(self.acme, [self.nora], None)
        self.assert_unknown()

    def test_is_unknown_after_the_organization_was_deleted(self):
        self.acme.delete()
        self.assert_unknown()
        self.assertFalse(AcceptedInvitation.objects.exists())

    def test_is_forgotten_with_the_person(self):
        self.nora.delete()
        self.client.logout()
        self.assert_unknown()
        self.assertFalse(AcceptedInvitation.objects.exists())

    def test_another_person_whose_invitation_came_later_is_led_nowhere(self):
        other_link = self.invite("other@example.com")
        self.client.logout()
        self.client.post(other_link, NORA)
        self.client.get("/admin/")
        self.assert_unknown()

    def test_counts_as_no_pending_invitation(self):
        self.client.force_login(self.admin)
        people = self.record_url.replace("change", "people")
        self.assertNotContains(self.client.get(people), "Pending invitations")
        self.assertFalse(Invitation.objects.exists())
        [owner] = User.objects.filter(email=EMAIL)
        self.assertEqual(invitations.find_invitations(owner.email), [])

    def test_only_a_hash_of_the_secret_is_stored(self):
        secret = self.link.split("/")[-2]
        values = AcceptedInvitation.objects.values_list().get()
        self.assertNotIn(secret, str(values))
        self.assertIn(sha256(secret.encode()).hexdigest(), values)

    def test_a_second_click_on_the_button_leads_to_the_organization(self):
        user = create_user("bob", email="bob@example.com")
        link = self.invite(user.email)
        invitation = Invitation.objects.select_related("invited_by").get()
        invitations.accept(invitation, user, account_is_unused=False)
        self.client.force_login(user)
        with mock.patch(
            "orgadmin.accounts.invitation_link.find_invitation",
            return_value=invitation,
        ):
            self.assertRedirects(self.client.post(link), self.record_url)

    def test_a_second_click_at_the_same_time_leads_to_the_sign_in(self):
        """The invitation is accepted after the second request has found it."""
        user = create_user("bob", email="bob@example.com")
        link = self.invite(user.email)
        invitation = Invitation.objects.select_related("invited_by").get()
        invitations.accept(invitation, user, account_is_unused=False)
        with mock.patch(
            "orgadmin.accounts.invitation_link.find_invitation",
            return_value=invitation,
        ):
            response = Client().post(link)
        self.assertRedirects(response, f"{LOGIN}?next={link}")

    def test_rows_that_the_previous_release_leaves_behind_lead_nowhere(self):
        """It deletes people and organizations without knowing this table."""
        accepted = AcceptedInvitation.objects.get()
        accepted.organization_id += 1_000
        accepted.save()
        # Superusers may view every organization, but this one does not exist.
        self.nora.is_superuser = True
        self.nora.save()
        self.client.force_login(self.nora)
        self.assert_unknown()
        accepted.user_id += 1_000
        accepted.save()
        connection.check_constraints()
        self.assert_unknown()


@skipUnless(connection.vendor == "postgresql", "SQLite has one writer at a time")
class AcceptTogetherTests(TransactionTestCase):
    @tag("D20")
    def test_a_link_works_once_for_requests_at_the_same_time(self):
        acme = create_organization("Acme")
        ada = create_user("ada", admin_of=[acme])
        for attempt in range(5):
            email = f"nora{attempt}@example.com"
            invitation = invitations.invite(acme, email, ADMIN, actor=ada)
            link = f"/admin/invitation/{invitation.make_token()}/"
            with ThreadPoolExecutor(4) as pool:
                locations = sorted(pool.map(self.accept, [link] * 4))
            # One is signed in. The others sign in first, like after a second click.
            acme_url = f"/admin/orgadmin/organization/{acme.pk}/overview/"
            self.assertEqual(locations, [f"{LOGIN}?next={link}"] * 3 + [acme_url])
            self.assertEqual(User.objects.filter(email=email).count(), 1)
            self.assertEqual(acme.admin.user_set.filter(email=email).count(), 1)

    def accept(self, link):
        try:
            return Client().post(link, NORA).headers["Location"]
        finally:
            connection.close()


class ConfirmEmailTests(TestCase):
    def setUp(self):
        acme = create_organization("Acme")
        self.nora = create_user("nora", email=EMAIL, admin_of=[acme])
        self.client.force_login(self.nora)

    def ask(self):
        """Ask for a link, and return its path."""
        self.client.post(CONFIRM_EMAIL)
        return read_link()

    def is_verified(self):
        return User.objects.get(pk=self.nora.pk).has_verified_email

    def test_the_header_leads_to_it_until_the_address_is_confirmed(self):
        self.assertContains(self.client.get("/admin/"), CONFIRM_EMAIL)
        self.client.post(self.ask())
        self.assertNotContains(self.client.get("/admin/"), CONFIRM_EMAIL)

    @tag("D19")
    def test_a_link_to_the_address_confirms_it(self):
        link = self.ask()
        self.assertEqual(mail.outbox[-1].to, [EMAIL])
        self.assertContains(self.client.get(link), EMAIL)
        self.assertFalse(self.is_verified())
        response = self.client.post(link, follow=True)
        self.assertContains(response, "Your email address is confirmed.")
        self.assertTrue(self.is_verified())
        self.assertTrue(
            AuditEvent.objects.filter(
                event="email verified", user_key=self.nora.pk, actor_key=self.nora.pk
            ).exists()
        )

    def test_looking_at_a_link_locks_nothing(self):
        link = self.ask()
        with mock.patch.object(confirm_email, "lock", wraps=lock) as locks:
            self.client.get(link)
            self.assertFalse(locks.called)
            self.client.post(link)
            self.assertTrue(locks.called)

    @tag("D19")
    def test_a_link_works_only_while_signed_in_to_the_same_account(self):
        link = self.ask()
        self.client.logout()
        self.assertRedirects(
            self.client.post(link),
            f"{LOGIN}?next={link}",
            fetch_redirect_response=False,
        )
        other = create_superuser(email="root@example.com")
        self.client.force_login(other)
        self.assertContains(self.client.post(link), "This link does not work")
        other.refresh_from_db()
        self.assertFalse(other.has_verified_email or self.is_verified())

    @tag("D19")
    # Sessions must last longer than the link.
    @override_settings(SESSION_IDLE_MINUTES=120)
    def test_a_link_ends_after_an_hour_and_with_the_address_and_the_sessions(self):
        changes = {
            "time": lambda: None,
            "address": lambda: self.change_email("new@example.com"),
            "sessions": lambda: User.objects.get(pk=self.nora.pk).end_sessions(),
        }
        for name, change in changes.items():
            with self.subTest(name):
                link = self.ask()
                change()
                self.client.force_login(User.objects.get(pk=self.nora.pk))
                seconds = 3_601 if name == "time" else 0
                now = time.time() + seconds
                with mock.patch("django.core.signing.time.time", return_value=now):
                    response = self.client.post(link)
                self.assertContains(response, "This link does not work")
                self.assertFalse(self.is_verified())

    def change_email(self, email):
        self.nora.refresh_from_db()
        self.nora.email = email
        self.nora.save()

    def test_does_not_flood_a_mailbox(self):
        for _attempt in range(throttle.LIMIT + 3):
            response = self.client.post(CONFIRM_EMAIL, follow=True)
        self.assertContains(response, "Too many emails")
        self.assertEqual(len(mail.outbox), throttle.LIMIT)

    @queues_mail()
    def test_a_mail_server_that_fails_does_not_reach_the_page(self):
        response = self.client.post(CONFIRM_EMAIL, follow=True)
        self.assertContains(response, "A link is on its way to")
        with fail_to_send():
            work()
        work_later()
        self.assertEqual(mail.outbox[0].subject, "Confirm your email address")

    def test_people_without_an_address_are_told_to_ask_for_one(self):
        self.client.force_login(create_superuser())
        self.client.post(CONFIRM_EMAIL)
        self.assertEqual(mail.outbox, [])
        self.assertContains(self.client.get(CONFIRM_EMAIL), "has no email address")


def end_sessions(form):
    """Validate a form, while someone ends the sessions of its user."""
    is_valid = not form.errors
    User.objects.get(pk=form.user.pk).end_sessions()
    return is_valid


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

    def reset(self, email="anna@example.com"):
        """Ask for a link, and set a new password with it. Return the last response."""
        self.ask(email)
        page = self.client.get(read_link(), follow=True)
        [form_url, _status] = page.redirect_chain[-1]
        data = {"new_password1": PASSWORD, "new_password2": PASSWORD}
        return self.client.post(form_url, data, follow=True)

    @tag("D21")
    def test_takes_over_an_account_that_someone_else_prepared(self):
        """The account of another person was given Anna's address."""
        other = Client()
        other.force_login(self.anna)
        SocialAccount.objects.create(user=self.anna, provider="company", uid="1")
        self.reset()
        self.anna.refresh_from_db()
        self.assertTrue(self.anna.has_verified_email)
        self.assertFalse(self.anna.check_password("secret"))
        self.assertFalse(SocialAccount.objects.exists())
        self.assertEqual(other.get("/admin/").status_code, 302)
        unlinked = AuditEvent.objects.filter(event="provider unlinked")
        self.assertEqual(unlinked.get().user_key, self.anna.pk)

    @tag("D21")
    def test_keeps_a_second_factor_and_then_verifies_nothing(self):
        Authenticator.objects.create(user=self.anna, type="totp", data={})
        SocialAccount.objects.create(user=self.anna, provider="company", uid="1")
        self.reset()
        self.anna.refresh_from_db()
        self.assertTrue(self.anna.check_password(PASSWORD))
        self.assertFalse(self.anna.has_verified_email)
        self.assertTrue(Authenticator.objects.exists())
        self.assertTrue(SocialAccount.objects.exists())

    @tag("D21")
    def test_keeps_the_company_account_of_a_verified_address(self):
        self.anna.verify_email()
        SocialAccount.objects.create(user=self.anna, provider="company", uid="1")
        self.reset()
        self.assertTrue(SocialAccount.objects.exists())

    def test_a_link_that_ends_while_it_is_used_sets_no_password(self):
        with mock.patch.object(
            ResetPasswordForm, "is_valid", autospec=True, side_effect=end_sessions
        ):
            response = self.reset()
        self.assertContains(response, "This link to choose a password has expired")
        self.anna.refresh_from_db()
        self.assertTrue(self.anna.check_password("secret"))

    @tag("C5")
    def test_the_page_does_not_reveal_whether_an_address_is_known(self):
        known = self.ask("anna@example.com")
        unknown = self.ask("nobody@example.com")
        self.assertEqual(read(known), read(unknown))
        self.assertEqual(len(mail.outbox), 1)

    @tag("C5")
    @queues_mail()
    def test_the_request_does_the_same_for_known_and_unknown_addresses(self):
        invitations.invite(self.acme, EMAIL, REVIEWER, actor=self.anna)
        for email in ("anna@example.com", EMAIL, "nobody@example.com"):
            with CaptureQueriesContext(connection) as queries:
                self.client.post("/admin/password_reset/", {"email": email})
            statements = [query["sql"].split()[0] for query in queries]
            # The limits of emails for one visitor and to one address, and the task.
            self.assertEqual(
                statements, ["DELETE", "INSERT", "INSERT", "INSERT"], email
            )
        self.assertEqual(mail.outbox, [])
        work()
        self.assertEqual(
            [message.to for message in mail.outbox], [["anna@example.com"], [EMAIL]]
        )
        self.assertEqual(DBTaskResult.objects.count(), 0)

    def test_the_mail_is_in_the_language_of_the_page(self):
        data = {"email": "anna@example.com"}
        german = {"accept-language": "de"}
        # The request leaves its language active. The next tests expect English again.
        self.enterContext(translation.override("en"))
        self.client.post("/admin/password_reset/", data, headers=german)
        self.assertIn("Passwort", mail.outbox[0].body)

    @tag("H2")
    def test_strangers_do_not_use_up_the_mail_that_people_need(self):
        for email in ("anna@example.com", EMAIL):
            for _attempt in range(throttle.LIMIT + 1):
                self.ask(email)
        mail.outbox.clear()
        self.client.force_login(self.anna)
        self.client.post(CONFIRM_EMAIL)
        people = f"/admin/orgadmin/organization/{self.acme.pk}/people/"
        data = {"add": "", "add-who": EMAIL, "add-role": "reviewer"}
        self.client.post(people, data)
        self.assertEqual(
            [message.to for message in mail.outbox], [["anna@example.com"], [EMAIL]]
        )

    @tag("H12")
    def test_visitors_at_one_address_cannot_ask_for_very_many_emails(self):
        for number in range(throttle.ADDRESS_LIMIT + 5):
            self.ask(f"{number}@example.com")
        self.ask("anna@example.com")
        self.assertEqual(mail.outbox, [])
        self.client.defaults["REMOTE_ADDR"] = "198.51.100.7"
        self.ask("anna@example.com")
        self.assertEqual(len(mail.outbox), 1)

    @tag("H12")
    def test_mail_that_visitors_ask_for_is_sent_after_that_of_people_signed_in(self):
        invited = {"add": "", "add-who": EMAIL, "add-role": "reviewer"}
        people = f"/admin/orgadmin/organization/{self.acme.pk}/people/"
        invitations.invite(self.acme, "other@example.com", REVIEWER, actor=self.anna)
        self.client.force_login(self.anna)
        with queues_mail():
            for email in ("anna@example.com", "other@example.com"):
                self.ask(email)
            for _task in range(2):
                # The worker finds out who has an address.
                run_task(Worker().take())
            self.client.post(people, invited)
            self.client.post(CONFIRM_EMAIL)
            work()
        self.assertEqual(
            [message.to[0] for message in mail.outbox],
            [EMAIL, "anna@example.com", "anna@example.com", "other@example.com"],
        )

    @tag("H12")
    def test_very_many_requests_of_strangers_use_up_no_invitation(self):
        """The limits of an organization and of its people stay as they are."""
        invitations.invite(self.acme, EMAIL, REVIEWER, actor=self.anna)
        keys = [
            make_key("invitations by", self.anna.pk),
            make_key("invitations to", self.acme.pk),
        ]
        counted = SignInAttempt.objects.filter(key__in=keys)
        before = sorted(counted.values_list("key", "count"))
        for number in range(throttle.LIMIT + 5):
            self.client.defaults["REMOTE_ADDR"] = f"198.51.100.{number}"
            self.ask(EMAIL)
        self.assertEqual(sorted(counted.values_list("key", "count")), before)
        self.assertEqual(len(before), 2)

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
