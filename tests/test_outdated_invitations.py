"""Invitations that a later change of the person's role has outdated."""

from contextlib import suppress

from django.db import connection
from django.test import TestCase, TransactionTestCase, skipUnlessDBFeature, tag
from django.test.utils import CaptureQueriesContext

from orgadmin.access.membership_log import Event
from orgadmin.models import Invitation, MembershipEvent, Organization, User
from orgadmin.people.changes import RoleChange
from orgadmin.people.invitations import InvitationGone, accept, invite
from orgadmin.people.membership import change_roles, set_groups
from orgadmin.people.offboarding import offboard
from tests.factories import (
    ADMIN,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)
from tests.together import run_together

EMAIL = "mary@example.com"


class InvitationCase(TestCase):
    def setUp(self):
        self.root = create_superuser()
        self.acme = create_organization()
        self.boss = create_user("boss", admin_of=[self.acme])
        self.mary = create_user("mary", email=EMAIL)

    def invite(self, role, organization=None, email=EMAIL):
        return invite(organization or self.acme, email, role, actor=self.root)

    def assert_gone(self, invitation):
        with self.assertRaises(InvitationGone):
            accept(invitation, self.mary, account_is_unused=False)
        self.assertFalse(Invitation.objects.filter(pk=invitation.pk).exists())

    def assert_open(self, invitation):
        self.assertTrue(Invitation.objects.filter(pk=invitation.pk).exists())

    def has_access(self):
        return Organization.objects.permitted(self.mary).exists()


@tag("D87")
class RemovedPersonTests(InvitationCase):
    """Someone who was removed cannot return through an older invitation."""

    def setUp(self):
        super().setUp()
        set_role(self.acme, [self.mary], REVIEWER)
        self.invitation = self.invite(ADMIN)

    def assert_stays_out(self):
        self.assert_gone(self.invitation)
        self.assertFalse(self.has_access())

    def test_removed_on_the_people_page(self):
        self.client.force_login(self.boss)
        url = f"/admin/orgadmin/organization/{self.acme.pk}/people/"
        self.client.post(url, {"user": self.mary.pk, "remove": "", "confirmed": "1"})
        self.assertFalse(self.has_access())
        self.assert_stays_out()

    def test_removed_by_a_role_change(self):
        set_role(self.acme, [self.mary], None)
        self.assert_stays_out()

    def test_removed_in_the_form_of_the_person(self):
        set_groups(self.mary, [], actor=self.root)
        self.assert_stays_out()

    def test_removed_from_the_group_with_code(self):
        self.mary.groups.remove(self.acme.reviewer)
        self.assert_stays_out()

    def test_removed_from_the_other_side_of_the_group(self):
        self.acme.reviewer.user_set.clear()
        self.assert_stays_out()

    def test_offboarded_and_activated_again(self):
        offboard(self.mary, actor=self.root)
        self.mary.refresh_from_db()
        self.mary.is_active = True
        self.mary.save()
        self.assert_stays_out()

    def test_deleted_and_created_again(self):
        self.mary.delete()
        self.mary = create_user("mary", email=EMAIL)
        self.assert_stays_out()

    def test_an_invitation_to_another_spelling_of_the_address(self):
        User.objects.filter(pk=self.mary.pk).update(email="Mary@BÜCHER.example")
        invitation = self.invite(ADMIN, email="mary@xn--bcher-kva.example")
        set_role(self.acme, [self.mary], None)
        self.mary.refresh_from_db()
        self.assert_gone(invitation)

    def test_the_log_says_why_the_invitation_is_gone(self):
        set_role(self.acme, [self.mary], None, actor=self.boss)
        event = MembershipEvent.objects.filter(event=Event.REVOKED).get()
        self.assertEqual(event.user_name, EMAIL)
        self.assertEqual(event.actor_key, self.boss.pk)
        self.assertEqual(event.reason, "The role of the person has changed.")

    def test_a_new_invitation_counts(self):
        set_role(self.acme, [self.mary], None)
        accept(self.invite(REVIEWER), self.mary, account_is_unused=False)
        self.assertTrue(self.has_access())

    def test_other_invitations_stay(self):
        to_beta = self.invite(ADMIN, create_organization("Beta"))
        to_bob = self.invite(ADMIN, email="bob@example.com")
        set_role(self.acme, [self.mary], None)
        self.assert_open(to_beta)
        self.assert_open(to_bob)


@tag("D87")
class ChangedRoleTests(InvitationCase):
    def test_a_demotion_outdates_every_invitation(self):
        set_role(self.acme, [self.mary], ADMIN)
        invitation = self.invite(ADMIN)
        set_role(self.acme, [self.mary], REVIEWER)
        self.assert_gone(invitation)

    def test_a_role_outdates_invitations_to_no_more_than_that(self):
        for role in (ADMIN, REVIEWER):
            invitation = self.invite(role)
            set_role(self.acme, [self.mary], ADMIN)
            self.assert_gone(invitation)
            set_role(self.acme, [self.mary], None)

    def test_a_role_added_with_code_does_so_too(self):
        invitation = self.invite(REVIEWER)
        self.mary.groups.add(self.acme.reviewer)
        self.assert_gone(invitation)

    def test_an_invitation_to_more_stays(self):
        invitation = self.invite(ADMIN)
        set_role(self.acme, [self.mary], REVIEWER)
        self.assertEqual(accept(invitation, self.mary, account_is_unused=False), ADMIN)

    def test_accepting_is_not_logged_as_revoking(self):
        accept(self.invite(ADMIN), self.mary, account_is_unused=False)
        self.assertFalse(MembershipEvent.objects.filter(event=Event.REVOKED).exists())

    def count_queries(self, number):
        """Return how many queries it takes to remove Mary from some organizations."""
        removals = []
        for index in range(number):
            organization = create_organization(f"Number {number} {index}")
            set_role(organization, [self.mary], REVIEWER)
            self.invite(ADMIN, organization)
            removals.append(RoleChange(self.mary, organization, None))
        with CaptureQueriesContext(connection) as queries:
            change_roles(removals, notify=False)
        return len(queries)

    def test_many_changes_take_the_same_queries(self):
        self.assertEqual(self.count_queries(30), self.count_queries(2))
        self.assertFalse(Invitation.objects.exists())


@tag("D87")
@skipUnlessDBFeature("has_select_for_update")
class AtTheSameTimeTests(TransactionTestCase):
    def test_someone_accepts_and_is_removed(self):
        acme = create_organization()
        mary = create_user("mary", email=EMAIL, reviewer_of=[acme])
        root = create_superuser()
        for _number in range(5):
            set_role(acme, [mary], REVIEWER, notify=False)
            invitation = invite(acme, EMAIL, ADMIN, actor=root, is_limited=False)
            run_together(
                lambda: set_role(acme, [mary], None, notify=False),
                lambda invitation=invitation: self.try_to_accept(invitation, mary),
            )
            # Whichever came first, the invitation is gone, and the removal was the last
            # decision, or it took away what the invitation had just given.
            self.assertFalse(Invitation.objects.exists())
            self.assertFalse(Organization.objects.permitted(mary).exists())

    def try_to_accept(self, invitation, mary):
        with suppress(InvitationGone):
            accept(invitation, mary, account_is_unused=False)
