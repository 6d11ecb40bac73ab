from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from django.test import SimpleTestCase, TestCase

from config import providers
from orgadmin.access import roles
from orgadmin.access.roles import (
    ROLES,
    ROLES_BY_RANK,
    Role,
    choose_default_role,
    find_strongest,
    group_base,
    group_name,
    is_generated,
    sort_by_rank,
)
from orgadmin.accounts.request_access import AccessRequestForm
from orgadmin.admin.home.home import find_role as find_role_on_card
from orgadmin.admin.members.forms import AddPeopleForm
from orgadmin.admin.organizations.requests import choose_role
from orgadmin.admin.people.bulk_forms import GiveRoleForm
from orgadmin.admin.people.new_person import OrganizationRoleForm
from orgadmin.models import Membership, Organization, User
from orgadmin.people.held_roles import HeldRole, find_current_roles, list_all_roles
from orgadmin.people.membership import find_role
from orgadmin.people.provider_groups import choose_role as choose_mapped_role
from tests.factories import create_organization, create_user

ADMIN, REVIEWER = ROLES[:2]


class RoleTableTests(SimpleTestCase):
    def test_every_role_may_view_as_no_right_counts_without_it(self):
        for role in ROLES:
            self.assertIn("view", role.permissions)


class AllRolesTests(SimpleTestCase):
    """Code that must not forget a role that is added later."""

    def test_groups_of_providers_can_have_all_roles(self):
        self.assertEqual(
            providers.ROLE_KEYS,
            tuple(role.key for role in ROLES),
            "Add the role to ROLE_KEYS in config/providers.py.",
        )

    def test_finds_organizations_by_the_groups_of_all_roles(self):
        for path in Path("orgadmin").rglob("*.py"):
            if "migrations" not in path.parts:
                with self.subTest(path=path):
                    self.assertNotIn("reviewer__in", path.read_text())


def make_role(key, *permissions):
    return Role(key, suffix=key, label=key, permissions=permissions)


class RankTests(SimpleTestCase):
    """Which role is the strongest, wherever it is in ROLES."""

    guest = make_role("guest", "view")
    editor = make_role("editor", "view", "change")
    manager = make_role("manager", "view", "manage_members")

    def setUp(self):
        self.ranked = sort_by_rank([self.guest, self.editor, self.manager])
        patched = mock.patch.object(roles, "ROLES_BY_RANK", self.ranked)
        patched.start()
        self.addCleanup(patched.stop)

    def test_more_permissions_come_first_and_ties_stay_in_their_order(self):
        self.assertEqual(self.ranked, [self.editor, self.manager, self.guest])

    def test_the_strongest_role_does_not_depend_on_the_order(self):
        for held in ([self.guest, self.manager], [self.manager, self.guest]):
            with self.subTest(held=held):
                self.assertIs(find_strongest(held), self.manager)

    def test_of_equally_strong_roles_the_first_one_in_the_table_wins(self):
        for held in ([self.editor, self.manager], [self.manager, self.editor]):
            with self.subTest(held=held):
                self.assertIs(find_strongest(held), self.editor)

    def test_without_roles_none_is_the_strongest(self):
        self.assertIsNone(find_strongest([]))

    def test_a_role_never_permits_more_than_itself(self):
        editor, manager = HeldRole(self.editor), HeldRole(self.manager)
        self.assertTrue(editor.permits_more_than(manager))
        self.assertFalse(manager.permits_more_than(editor))
        self.assertFalse(editor.permits_more_than(editor))

    def test_the_default_is_the_weakest_role(self):
        self.assertEqual(choose_default_role([self.guest, self.editor]), "guest")
        self.assertEqual(choose_default_role([self.editor, self.manager]), "manager")
        self.assertEqual(choose_default_role([]), "")


class TwoRolesTests(TestCase):
    """All code agrees on the role of someone who is in several groups."""

    def test_this_is_the_strongest_role(self):
        acme = create_organization()
        anna = create_user()
        for role in ROLES:
            Membership.objects.create(user=anna, group_id=getattr(acme, role.attname))
        sources = Organization.objects.find_sources([anna], [acme.pk])
        for ranked in (ROLES_BY_RANK, ROLES_BY_RANK[::-1]):
            strongest = ranked[0]
            with (
                self.subTest(strongest=strongest.key),
                mock.patch.object(roles, "ROLES_BY_RANK", ranked),
            ):
                self.assertIs(find_role(acme, anna), strongest)
                self.assertIs(
                    find_role_on_card(acme, sources[anna.pk, acme.pk]), strongest
                )
                [holding] = list_all_roles([anna])
                self.assertIs(holding.held.role, strongest)
                [held] = find_current_roles([anna], [acme]).values()
                self.assertIs(held.role, strongest)
                rows = [providers.GroupRole("staff", role.key, "C-1") for role in ROLES]
                self.assertIs(choose_mapped_role(rows).role, strongest)


class DefaultRoleTests(SimpleTestCase):
    """Forms preselect the weakest role, even if it is not the last one in ROLES."""

    def setUp(self):
        ranked = ROLES_BY_RANK[::-1]
        patched = mock.patch.object(roles, "ROLES_BY_RANK", ranked)
        patched.start()
        self.addCleanup(patched.stop)
        self.weakest = ranked[-1].key
        self.assertNotEqual(self.weakest, ROLES[-1].key)

    def test_of_forms_that_offer_all_roles(self):
        root = User(is_superuser=True)
        with mock.patch("orgadmin.models.Organization.objects.permitted"):
            new_person = OrganizationRoleForm(user=root)
        forms = [
            AccessRequestForm(),
            new_person,
            GiveRoleForm(actor=root, find_listed=None),
        ]
        for form in forms:
            with self.subTest(form=type(form).__name__):
                self.assertEqual(form["role"].initial, self.weakest)

    def test_of_forms_that_offer_the_roles_someone_may_assign(self):
        permissions = ADMIN.permissions
        form = AddPeopleForm(permissions=permissions, actor=User())
        self.assertEqual(form["role"].initial, self.weakest)
        # Someone asked for a role that the form does not offer.
        asked = SimpleNamespace(role="guest")
        self.assertEqual(choose_role(asked, form), self.weakest)


class GroupNameTests(SimpleTestCase):
    def test_base_is_the_first_50_characters_without_outer_space(self):
        cases = {
            "Acme": "Acme",
            "  Acme  ": "Acme",
            "x" * 60: "x" * 50,
            "x" * 49 + " y": "x" * 49,
            "\u3000Ａｃｍｅ\u00a0": "Ａｃｍｅ",
            "": "Organization",
            "   ": "Organization",
            " " * 50 + "Acme": "Organization",
        }
        for name, base in cases.items():
            with self.subTest(name=name):
                self.assertEqual(group_base(name), base)

    def test_number_stands_before_the_role(self):
        self.assertEqual(group_name("Acme", ADMIN), "Acme Admin")
        self.assertEqual(group_name("Acme", REVIEWER, 12), "Acme 12 Reviewer")

    def test_the_longest_name_fits_the_column_of_auth_group(self):
        self.assertLessEqual(len(group_name("x" * 50, REVIEWER, 10**9)), 150)

    def test_tells_generated_names_from_names_made_by_hand(self):
        generated = ["A.C Admin", "A.C 1 Admin", "A.C 99123 Admin", "A.C 7 3 Admin"]
        by_hand = [
            "ABC Admin",
            "A.C  Admin",
            "A.C 01 Admin",
            "A.C 8 3 Admin",
            "A.C Reviewer",
            "A.C Admins",
            "A.C x Admin",
        ]
        for name in generated:
            with self.subTest(name=name):
                self.assertTrue(is_generated(name, "A.C", ADMIN, 7))
        for name in by_hand:
            with self.subTest(name=name):
                self.assertFalse(is_generated(name, "A.C", ADMIN, 7))
