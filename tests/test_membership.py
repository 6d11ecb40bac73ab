from django.test import TestCase

from orgadmin.membership import list_members, replace_roles, set_role

from .factories import ADMIN, REVIEWER, create_organization, create_user


class SetRoleTests(TestCase):
    def setUp(self):
        self.organization = create_organization()
        self.other = create_organization("Other")
        self.user = create_user(reviewer_of=[self.other])

    def assert_groups(self, *groups):
        self.assertEqual(set(self.user.groups.all()), {self.other.reviewer, *groups})

    def test_gives_a_role_and_takes_it(self):
        self.assertEqual(set_role(self.organization, [self.user], ADMIN), 1)
        self.assert_groups(self.organization.admin)
        self.assertEqual(set_role(self.organization, [self.user], ADMIN), 0)
        self.assertEqual(set_role(self.organization, [self.user], None), 1)
        self.assert_groups()
        self.assertEqual(set_role(self.organization, [self.user], None), 0)

    def test_a_new_role_replaces_the_old(self):
        set_role(self.organization, [self.user], ADMIN)
        self.assertEqual(set_role(self.organization, [self.user], REVIEWER), 1)
        self.assert_groups(self.organization.reviewer)

    def test_takes_many_people_with_the_same_queries(self):
        users = [create_user(f"u{number}") for number in range(30)]
        with self.assertNumQueries(5):
            self.assertEqual(set_role(self.organization, users, ADMIN), 30)
        self.assertEqual(list_members(self.organization).count(), 30)


class ReplaceRolesTests(TestCase):
    def test_the_new_role_wins_over_the_one_that_was_there(self):
        acme = create_organization()
        groups = replace_roles({acme.reviewer}, {acme.reviewer, acme.admin})
        self.assertEqual(list(groups), [acme.admin])
        groups = replace_roles({acme.admin}, {acme.reviewer, acme.admin})
        self.assertEqual(list(groups), [acme.reviewer])

    def test_two_new_roles_at_once_are_unclear(self):
        acme = create_organization()
        with self.assertRaises(ValueError) as caught:
            replace_roles(set(), {acme.reviewer, acme.admin})
        self.assertEqual(caught.exception.args[0], [acme])
