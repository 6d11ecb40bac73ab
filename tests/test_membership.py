from threading import Barrier, Thread

from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase, skipUnlessDBFeature

from orgadmin.models import Organization
from orgadmin.people.membership import (
    AmbiguousRoles,
    LastAdminError,
    Membership,
    OrganizationRole,
    choose_roles,
    set_groups,
)

from .factories import ADMIN, REVIEWER, create_organization, create_user, set_role


class SetRoleTests(TestCase):
    def setUp(self):
        self.organization = create_organization()
        self.other = create_organization("Other")
        self.user = create_user(reviewer_of=[self.other])

    def assert_groups(self, *groups):
        self.assertEqual(set(self.user.groups.all()), {self.other.reviewer, *groups})

    def test_gives_a_role_and_takes_it(self):
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

    def test_somebody_in_both_groups_is_left_with_one_role(self):
        self.user.groups.add(self.organization.admin, self.organization.reviewer)
        self.assertEqual(set_role(self.organization, [self.user], ADMIN), [self.user])
        self.assert_groups(self.organization.admin)

    def test_an_organization_that_is_gone_is_told(self):
        pk = self.organization.pk
        self.organization.delete()
        self.organization.pk = pk
        with self.assertRaises(Organization.DoesNotExist):
            set_role(self.organization, [self.user], ADMIN)

    def test_takes_many_people_with_the_same_queries(self):
        users = [create_user(f"u{number}") for number in range(30)]
        with self.assertNumQueries(7):
            self.assertEqual(set_role(self.organization, users, ADMIN), users)
        self.assertEqual(
            Membership.objects.filter(group__in=self.organization.group_ids).count(), 30
        )


class ChooseRolesTests(TestCase):
    def test_the_new_role_wins_over_the_one_that_was_there(self):
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

    def test_two_new_roles_at_once_are_unclear(self):
        acme = create_organization()
        with self.assertRaises(AmbiguousRoles) as caught:
            choose_roles(set(), {acme.reviewer, acme.admin})
        self.assertEqual(caught.exception.organizations, [acme])


@skipUnlessDBFeature("has_select_for_update")
class TwoAtOnceTests(TransactionTestCase):
    """Two people give one person different roles at once: the later one counts, and nobody gets both."""

    def give_at_once(self, second):
        self.acme, self.user = create_organization(), create_user()

        def run():
            second(self)
            connection.close()

        thread = Thread(target=run)
        with transaction.atomic():
            set_role(self.acme, [self.user], ADMIN)
            thread.start()
            thread.join(0.3)
            self.assertTrue(thread.is_alive(), "the second must wait for the first")
        thread.join()
        self.assertEqual(list(self.user.groups.all()), [self.acme.reviewer])

    def test_two_admins_who_remove_each_other_or_leave_together_do_not_leave_it_alone(
        self,
    ):
        for pairs in ([(0, 1), (1, 0)], [(0, 0), (1, 1)]):  # who removes whom
            acme, results = create_organization(), []
            people = [
                create_user(f"u{acme.pk}-{number}", admin_of=[acme])
                for number in (0, 1)
            ]
            barrier = Barrier(2)

            def remove(actor, user, acme=acme, results=results, barrier=barrier):
                barrier.wait()
                try:
                    results.append(len(set_role(acme, [user], None, actor=actor)))
                except (PermissionDenied, LastAdminError) as error:
                    results.append(type(error).__name__)
                connection.close()

            threads = [
                Thread(target=remove, args=(people[actor], people[user]))
                for actor, user in pairs
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(acme.admin.user_set.count(), 1, results)
            self.assertEqual(
                len([result for result in results if result == 1]), 1, results
            )

    def test_through_the_organization(self):
        self.give_at_once(lambda test: set_role(test.acme, [test.user], REVIEWER))

    def test_through_the_person(self):
        self.give_at_once(lambda test: set_groups(test.user, [test.acme.reviewer]))
