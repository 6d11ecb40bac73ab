import random
from datetime import UTC, datetime, timedelta

from django.contrib.auth.models import Group, Permission
from django.test import TestCase

from orgadmin.access.roles import PERMISSIONS, ROLES
from orgadmin.gate.answers import Gate, holds_more_than
from orgadmin.gate.explain import explain, find_reasons
from orgadmin.models import Membership, Organization, User
from orgadmin.people import membership
from orgadmin.people.changes import RoleChange
from orgadmin.people.expiry import remove_ended_memberships

from .clocks import time
from .factories import (
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    grant,
    set_role,
)


class ExplainTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization("Acme")

    def assert_explained(self, user, action, may, *lines):
        explanation = explain(user, self.acme, action)
        self.assertEqual((explanation.may, explanation.lines), (may, list(lines)))

    def test_names_the_path_of_each_right(self):
        admin = create_user("admin", admin_of=[self.acme])
        self.assert_explained(
            admin,
            "change",
            True,
            "view: is in its Admin group",
            "change: is in its Admin group",
        )
        self.assert_explained(
            admin, "delete", False, "view: is in its Admin group", "delete: no reason"
        )
        reviewer = create_user("reviewer", reviewer_of=[self.acme])
        self.assert_explained(
            reviewer,
            "change",
            False,
            "view: is in its Reviewer group",
            "change: no reason",
        )
        self.assert_explained(create_superuser(), "view", True, "view: is a superuser")
        staff = create_user("staff", is_staff=True, permissions=["view_organization"])
        self.assert_explained(
            staff,
            "view",
            True,
            "view: is staff and has the permission for all organizations",
        )
        self.assert_explained(create_user("other"), "view", False, "view: no reason")

    def test_says_until_when(self):
        admin = create_user("admin", admin_of=[self.acme])
        ends_at = datetime(2027, 1, 1, tzinfo=UTC)
        Membership.objects.filter(user=admin).update(ends_at=ends_at)
        with time(ends_at - timedelta(seconds=1)):
            self.assert_explained(
                admin,
                "change",
                True,
                "view: is in its Admin group until Dec. 31, 2026",
                "change: is in its Admin group until Dec. 31, 2026",
            )
        ended = ["view: no reason", "Their role ended on Dec. 31, 2026."]
        with time(ends_at):
            self.assert_explained(admin, "view", False, *ended)
            self.assertEqual(remove_ended_memberships(), 1)
            self.assert_explained(admin, "view", False, *ended)
        set_role(self.acme, [admin], REVIEWER)
        self.assert_explained(admin, "view", True, "view: is in its Reviewer group")
        set_role(self.acme, [admin], None)
        self.assert_explained(admin, "view", False, "view: no reason")

    def test_names_all_paths(self):
        user, friends = (
            create_user(admin_of=[self.acme]),
            Group.objects.create(name="Friends"),
        )
        user.groups.add(friends)
        self.acme.group_grants.create(
            group=friends,
            permission=Permission.objects.get(codename="view_organization"),
        )
        grant(user, "view_organization", self.acme)
        [line] = explain(user, self.acme).lines
        for path in (
            "is in its Admin group",
            "is in the group “Friends”, which was granted the permission",
            "was granted the permission personally",
        ):
            self.assertIn(path, line)

    def test_says_why_a_right_does_not_count(self):
        user = create_user(is_active=False, admin_of=[self.acme])
        self.assertEqual(
            explain(user, self.acme).lines[-1],
            "But the account is inactive, so no permission counts.",
        )
        user = create_user(
            "staff", is_active=False, is_staff=True, permissions=["view_organization"]
        )
        self.assertEqual(
            explain(user, self.acme).lines,
            [
                "view: is staff and has the permission for all organizations",
                "But the account is inactive, so no permission counts.",
            ],
        )
        user = create_user("half")
        grant(user, "change_organization", self.acme)
        explanation = explain(user, self.acme, "change")
        self.assertFalse(explanation.may)
        self.assertEqual(
            explanation.lines[-1], "But without “view”, no other permission counts."
        )


class HoldsMoreTests(TestCase):
    def test_tells_who_is_above(self):
        acme = create_organization()
        manager = create_user(
            "manager", is_staff=True, permissions=["view_user", "change_user"]
        )
        viewer = create_user(
            "viewer",
            is_staff=True,
            permissions=["view_user", "change_user", "view_organization"],
        )
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
                self.assertTrue(holds_more_than(user, manager))
                self.assertFalse(holds_more_than(user, above[0]))
        self.assertFalse(holds_more_than(plain, manager))
        self.assertFalse(holds_more_than(manager, manager))
        self.assertTrue(holds_more_than(viewer, manager))
        self.assertFalse(holds_more_than(above[-1], viewer))
        self.assertTrue(holds_more_than(above[2], viewer))


class AgreementTests(TestCase):
    """List, gate, explanation and both pages agree.

    For 50 people and 50 organizations, with every source of permissions.
    """

    def setUp(self):
        chance = random.Random(5050)
        self.places = Organization.objects.bulk_create(
            [Organization(name=f"Place {n}") for n in range(50)]
        )
        self.people = [
            User(
                username=f"user{n}",
                is_active=chance.random() < 0.8,
                is_superuser=chance.random() < 0.05,
                is_staff=chance.random() < 0.3,
            )
            for n in range(50)
        ]
        User.objects.bulk_create(self.people)
        permissions = list(
            Permission.objects.filter(codename__endswith="_organization")
        )
        others = [Group.objects.create(name=f"Other {n}") for n in range(6)]
        for group in others[3:]:
            group.permissions.set(chance.sample(permissions, 2))
        for user in self.people:
            roles = [
                RoleChange(user, place, chance.choice(ROLES))
                for place in chance.sample(self.places, 3)
            ]
            membership.change_roles(roles)
            user.groups.add(*chance.sample(others, chance.randrange(3)))
            if chance.random() < 0.2:
                user.user_permissions.set(chance.sample(permissions, 2))
            for place in chance.sample(self.places, 2):
                place.user_grants.create(
                    user=user, permission=chance.choice(permissions)
                )
        for place in self.places:
            for group in chance.sample(others[:3], chance.randrange(3)):
                place.group_grants.create(
                    group=group, permission=chance.choice(permissions)
                )
        others[0].delete()

    def test_for_every_pair(self):
        root = create_superuser()
        self.client.force_login(root)
        people = list(User.objects.exclude(pk=root.pk))
        paths = find_reasons(people, self.places)
        pages = {}
        for user in people:
            url = f"/admin/orgadmin/user/{user.pk}/organizations/"
            pages[user.pk] = self.client.get(url).context["page"]
        reach = {
            pk: {organization.pk for organization in page} for pk, page in pages.items()
        }
        listed = {
            (user.pk, action): set(
                Organization.objects.permitted(user, action).values_list(
                    "pk", flat=True
                )
            )
            for user in people
            for action in PERMISSIONS
        }
        seen, pairs = set(), 0
        for place in self.places:
            holders = set(Organization.objects.find_viewers(place.pk))
            page = self.client.get(
                f"/admin/orgadmin/organization/{place.pk}/access/"
            ).context["page"]
            self.assertEqual(page.paginator.count, len(holders))
            for user in people:
                gate, held, pairs = Gate(user), paths[user.pk, place.pk], pairs + 1
                self.assertEqual("view" in held, user in holders)
                self.assertEqual("view" in held, place.pk in reach[user.pk])
                for action in PERMISSIONS:
                    may = user.is_active and "view" in held and action in held
                    self.assertEqual(may, gate.permits(action, place.pk))
                    self.assertEqual(may, place.pk in listed[user.pk, action])
                seen |= {
                    path.split(" “")[0]
                    for sentences in held.values()
                    for path in sentences
                }
                explanation = (
                    explain(user, place, "change")
                    if (user.pk + place.pk) % 25 == 0
                    else None
                )
                if explanation:
                    self.assertEqual(explanation.may, gate.permits("change", place.pk))
        self.assertEqual((len(seen), pairs), (6, 2_500), seen)
