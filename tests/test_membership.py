"""Changing roles: by organization, by person, and by two people at once."""

from functools import partial
from threading import Thread

from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase, skipUnlessDBFeature

from orgadmin.models import Organization
from orgadmin.models.guards import LastAdminError
from orgadmin.people.membership import (
    AmbiguousRoles,
    Membership,
    OrganizationRole,
    choose_roles,
    set_groups,
)

from .factories import ADMIN, REVIEWER, create_organization, create_user, set_role
from .mailing import queues_mail
from .together import run_together


class SetRoleTests(TestCase):
    def setUp(self):
        self.organization = create_organization()
        self.other = create_organization("Other")
        self.user = create_user(reviewer_of=[self.other])

    def assert_groups(self, *groups):
        self.assertEqual(set(self.user.groups.all()), {self.other.reviewer, *groups})

    def test_assigns_and_removes_a_role(self):
        self.assertEqual(set_role(self.organization, [self.user], ADMIN), [self.user])
        self.assert_groups(self.organization.admin)
        self.assertEqual(set_role(self.organization, [self.user], ADMIN), [])
        self.assertEqual(set_role(self.organization, [self.user], None), [self.user])
        self.assert_groups()
        self.assertEqual(set_role(self.organization, [self.user], None), [])

    def test_a_new_role_replaces_the_old(self):
        set_role(self.organization, [self.user], ADMIN)
        self.assertEqual(
            set_role(self.organization, [self.user], REVIEWER), [self.user]
        )
        self.assert_groups(self.organization.reviewer)

    def test_someone_in_both_groups_is_left_with_one_role(self):
        self.user.groups.add(self.organization.admin, self.organization.reviewer)
        self.assertEqual(set_role(self.organization, [self.user], ADMIN), [self.user])
        self.assert_groups(self.organization.admin)

    def test_a_deleted_organization_raises_an_error(self):
        pk = self.organization.pk
        self.organization.delete()
        self.organization.pk = pk
        with self.assertRaises(Organization.DoesNotExist):
            set_role(self.organization, [self.user], ADMIN)

    def test_takes_no_more_queries_for_many_people(self):
        users = [create_user(f"u{number}") for number in range(30)]
        # One of the queries adds the task that finds out who gets mail. Another reads
        # the email addresses, which may have invitations.
        with queues_mail(), self.assertNumQueries(9):
            self.assertEqual(set_role(self.organization, users, ADMIN), users)
        self.assertEqual(
            Membership.objects.filter(group__in=self.organization.group_ids).count(), 30
        )


class ChooseRolesTests(TestCase):
    def test_the_new_role_replaces_the_previous_one(self):
        acme = create_organization()
        self.assertEqual(
            choose_roles({acme.reviewer}, {acme.reviewer, acme.admin}),
            [OrganizationRole(acme, ADMIN)],
        )
        self.assertEqual(
            choose_roles({acme.admin}, {acme.reviewer, acme.admin}),
            [OrganizationRole(acme, REVIEWER)],
        )
        self.assertEqual(
            choose_roles({acme.admin}, {acme.admin}), [OrganizationRole(acme, ADMIN)]
        )
        self.assertEqual(
            choose_roles({acme.admin, acme.reviewer}, set()),
            [OrganizationRole(acme, None)],
        )

    def test_two_new_roles_at_once_are_ambiguous(self):
        acme = create_organization()
        with self.assertRaises(AmbiguousRoles) as caught:
            choose_roles(set(), {acme.reviewer, acme.admin})
        self.assertEqual(caught.exception.organizations, [acme])


@skipUnlessDBFeature("has_select_for_update")
class TwoAtOnceTests(TransactionTestCase):
    """If two people change a role at once, the later change counts."""

    def setUp(self):
        self.acme = create_organization()
        self.user = create_user()

    def become_reviewer(self):
        set_role(self.acme, [self.user], REVIEWER)
        connection.close()

    def get_the_reviewer_group(self):
        set_groups(self.user, [self.acme.reviewer])
        connection.close()

    def test_through_the_organization(self):
        self.assert_waits_and_replaces_the_first(self.become_reviewer)

    def test_through_the_person(self):
        self.assert_waits_and_replaces_the_first(self.get_the_reviewer_group)

    def assert_waits_and_replaces_the_first(self, second_change):
        thread = Thread(target=second_change)
        with transaction.atomic():
            set_role(self.acme, [self.user], ADMIN)
            thread.start()
            thread.join(0.3)
            self.assertTrue(thread.is_alive(), "the second must wait for the first")
        thread.join()
        self.assertEqual(list(self.user.groups.all()), [self.acme.reviewer])


@skipUnlessDBFeature("has_select_for_update")
class LastTwoAdminsTests(TransactionTestCase):
    """If the last two admins are removed at once, one of them stays."""

    def setUp(self):
        self.acme = create_organization()
        self.anna = create_user("anna", admin_of=[self.acme])
        self.bert = create_user("bert", admin_of=[self.acme])

    def remove(self, user, actor):
        """Remove an admin. Return how many were removed, or the name of the error."""
        try:
            return len(set_role(self.acme, [user], None, actor=actor))
        except (PermissionDenied, LastAdminError) as error:
            return type(error).__name__

    def test_when_they_remove_each_other(self):
        self.assert_one_stays([(self.bert, self.anna), (self.anna, self.bert)])

    def test_when_they_leave_together(self):
        self.assert_one_stays([(self.anna, self.anna), (self.bert, self.bert)])

    def assert_one_stays(self, removals):
        """Run removals, [(user, actor)], at the same time."""
        functions = [partial(self.remove, *removal) for removal in removals]
        results = run_together(*functions)
        self.assertEqual(self.acme.admin.user_set.count(), 1, results)
        self.assertEqual(results.count(1), 1, results)
