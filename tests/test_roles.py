from pathlib import Path

from django.test import SimpleTestCase

from config import providers
from orgadmin.access.roles import ROLES, group_base, group_name, is_generated

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
