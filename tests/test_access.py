from django.contrib.auth.models import Group, Permission
from django.test import TestCase

from orgadmin.access import explain, holds_more

from .factories import create_organization, create_superuser, create_user, grant


class ExplainTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization("Acme")

    def assert_explained(self, user, action, may, *lines):
        explanation = explain(user, self.acme, action)
        self.assertEqual((explanation.may, explanation.lines), (may, list(lines)))

    def test_names_the_path_of_each_right(self):
        admin = create_user("admin", admin_of=[self.acme])
        self.assert_explained(admin, "change", True, "view: is in its admin group", "change: is in its admin group")
        self.assert_explained(admin, "delete", False, "view: is in its admin group", "delete: no path")
        reviewer = create_user("reviewer", reviewer_of=[self.acme])
        self.assert_explained(reviewer, "change", False, "view: is in its reviewer group", "change: no path")
        self.assert_explained(create_superuser(), "view", True, "view: is a superuser")
        staff = create_user("staff", is_staff=True, permissions=["view_organization"])
        self.assert_explained(staff, "view", True, "view: is staff and holds the permission for all organizations")
        self.assert_explained(create_user("other"), "view", False, "view: no path")

    def test_names_all_paths(self):
        user, friends = create_user(admin_of=[self.acme]), Group.objects.create(name="Friends")
        user.groups.add(friends)
        self.acme.group_grants.create(group=friends, permission=Permission.objects.get(codename="view_organization"))
        grant(user, "view_organization", self.acme)
        [line] = explain(user, self.acme).lines
        for path in (
            "is in its admin group",
            "is in the group “Friends”, which was granted it",
            "was granted it in person",
        ):
            self.assertIn(path, line)

    def test_says_why_a_right_does_not_count(self):
        user = create_user(is_active=False, admin_of=[self.acme])
        self.assertEqual(explain(user, self.acme).lines[-1], "But the account is inactive, so nothing counts.")
        user = create_user("staff", is_active=False, is_staff=True, permissions=["view_organization"])
        self.assertEqual(
            explain(user, self.acme).lines,
            [
                "view: is staff and holds the permission for all organizations",
                "But the account is inactive, so nothing counts.",
            ],
        )
        user = create_user("half")
        grant(user, "change_organization", self.acme)
        explanation = explain(user, self.acme, "change")
        self.assertFalse(explanation.may)
        self.assertEqual(explanation.lines[-1], "But no right counts without the right to view.")


class HoldsMoreTests(TestCase):
    def test_tells_who_is_above(self):
        acme = create_organization()
        manager = create_user("manager", is_staff=True, permissions=["view_user", "change_user"])
        viewer = create_user("viewer", is_staff=True, permissions=["view_user", "change_user", "view_organization"])
        plain = create_user("plain")
        above = [
            create_superuser("root"),
            create_superuser("old root", is_active=False),
            create_user("admin", admin_of=[acme]),
            create_user("away", admin_of=[acme], is_active=False),
            create_user("rights", permissions=["delete_user"]),
            create_user("granted"),
        ]
        grant(above[-1], "view_organization", acme)
        for user in above:
            with self.subTest(user=user):
                self.assertTrue(holds_more(user, manager))
                self.assertFalse(holds_more(user, above[0]))
        self.assertFalse(holds_more(plain, manager))
        self.assertFalse(holds_more(manager, manager))
        self.assertTrue(holds_more(viewer, manager))
        self.assertFalse(holds_more(above[-1], viewer))
        self.assertTrue(holds_more(above[2], viewer))
