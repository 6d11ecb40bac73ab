"""Staff who manage people, and are no superusers, get no more access by that."""

from unittest import mock

from django.contrib.admin.models import CHANGE, LogEntry
from django.test import TestCase, tag

from orgadmin.admin.users import UserAdmin
from orgadmin.models import Organization, User

from .factories import create_organization, create_superuser, create_user, grant

LIST = "/admin/orgadmin/user/"
NEW_PASSWORD = {
    "usable_password": "true",
    "password1": "correct horse battery",
    "password2": "correct horse battery",
}
ALL = ["view_user", "add_user", "change_user", "delete_user"]


save_model = UserAdmin.save_model


def save_after_a_change(model_admin, request, obj, form, change):
    """Save a person whom someone else changed a moment before."""
    User.objects.filter(pk=obj.pk).update(is_staff=False, last_name="Changed")
    return save_model(model_admin, request, obj, form, change)


class UserManagerTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization("Canary Ltd")
        cls.root = create_superuser()
        cls.manager = create_user("manager", is_staff=True, permissions=ALL)
        cls.plain = create_user("plain")
        cls.admin = create_user("admin", admin_of=[cls.acme])
        cls.away = create_user("away", admin_of=[cls.acme], is_active=False)
        cls.above = [cls.root, cls.admin, cls.away]

    def setUp(self):
        self.client.force_login(self.manager)

    def post(self, user, **values):
        data = {
            "username": user.username,
            "is_active": "on",
            "first_name": "New",
            **values,
        }
        # Fields that only superusers see, so that the form is complete for them, too.
        data |= {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
        return self.client.post(f"{LIST}{user.pk}/change/", data)

    def test_manages_people_who_hold_no_more(self):
        self.assertRedirects(self.post(self.plain, email="new@example.com"), LIST)
        self.plain.refresh_from_db()
        self.assertEqual(self.plain.first_name, "New")
        self.assertEqual(self.plain.email, "new@example.com")
        data = NEW_PASSWORD | {"set-password": "1"}
        response = self.client.post(f"{LIST}{self.plain.pk}/password/", data)
        self.assertEqual(response.status_code, 302)
        self.client.post(f"{LIST}add/", {"username": "added", **data})
        self.assertTrue(User.objects.filter(username="added", is_staff=False).exists())

    @tag("C1")
    def test_grants_no_permissions(self):
        values = {
            "is_superuser": "on",
            "is_staff": "on",
            "groups": [self.acme.admin_id],
            "user_permissions": [1, 2, 3],
        }
        for user in (self.plain, self.manager):
            self.post(user, **values)
        for user in (self.plain, User.objects.get(pk=self.manager.pk)):
            user.refresh_from_db()
            self.assertFalse(user.is_superuser)
            self.assertFalse(user.groups.exists())
        self.assertFalse(self.plain.is_staff)
        self.assertEqual(self.manager.user_permissions.count(), len(ALL))
        data = NEW_PASSWORD | {"username": "made"}
        self.client.post(f"{LIST}add/", data | values)
        made = User.objects.get(username="made")
        self.assertFalse(made.is_superuser or made.is_staff or made.groups.exists())

    @tag("C2")
    def test_edits_nobody_who_holds_more(self):
        password = NEW_PASSWORD | {"set-password": "1"}
        for user in self.above:
            url = f"{LIST}{user.pk}"
            with self.subTest(user=user):
                self.assertEqual(self.client.get(f"{url}/change/").status_code, 200)
                self.assertEqual(self.post(user).status_code, 403)
                for page, data in (
                    ("password", password),
                    ("delete", {"post": "yes"}),
                ):
                    response = self.client.post(f"{url}/{page}/", data)
                    self.assertEqual(response.status_code, 403)
        selected = {
            "action": "delete_selected",
            "_selected_action": [user.pk for user in self.above],
            "post": "yes",
        }
        self.client.post(LIST, selected)
        self.assertEqual(
            User.objects.filter(first_name="").count(), User.objects.count()
        )
        self.assertEqual(
            User.objects.filter(pk__in=[user.pk for user in self.above]).count(), 3
        )

    @tag("C9")
    def test_deletes_nobody(self):
        url = f"{LIST}{self.plain.pk}/delete/"
        self.assertEqual(self.client.post(url, {"post": "yes"}).status_code, 403)
        selected = {
            "action": "delete_selected",
            "_selected_action": [self.plain.pk],
            "post": "yes",
        }
        self.client.post(LIST, selected)
        self.assertTrue(User.objects.filter(pk=self.plain.pk).exists())

    def test_keeps_what_someone_else_changed_at_the_same_time(self):
        with mock.patch.object(UserAdmin, "save_model", save_after_a_change):
            self.post(self.manager, email="manager@example.com")
        self.manager.refresh_from_db()
        self.assertFalse(self.manager.is_staff)
        self.assertEqual(self.manager.last_name, "Changed")
        self.assertEqual(self.manager.first_name, "New")
        self.assertEqual(self.manager.email, "manager@example.com")

    def test_learns_no_names_of_organizations(self):
        changed = {"name": "organization", "object": "Canary Ltd", "fields": ["x"]}
        LogEntry.objects.log_actions(
            self.root.pk, [self.admin], CHANGE, [{"changed": changed}]
        )
        # It permits nothing without "view", but it names the organization.
        grant(self.plain, "change_organization", self.acme)
        for page in ("change/", "history/", "delete/", "password/"):
            for user in (self.admin, self.plain):
                response = self.client.get(f"{LIST}{user.pk}/{page}", follow=True)
                self.assertNotIn(b"Canary", response.content)
        selected = {"action": "delete_selected", "_selected_action": [self.plain.pk]}
        self.assertNotIn(b"Canary", self.client.post(LIST, selected).content)
        self.assertEqual(
            self.client.get("/admin/orgadmin/organization/").status_code, 403
        )
        query = {
            "app_label": "orgadmin",
            "model_name": "user",
            "field_name": "groups",
            "term": "",
        }
        self.assertEqual(
            self.client.get("/admin/autocomplete/", query).status_code, 403
        )

    def test_needs_the_permission_to_view_with_any_other(self):
        self.client.force_login(
            create_user(
                "half", is_staff=True, permissions=["change_user", "delete_user"]
            )
        )
        for page in ("", "add/", f"{self.plain.pk}/password/"):
            self.assertEqual(self.client.get(LIST + page).status_code, 403)
        self.client.force_login(
            create_user("nostaff", permissions=ALL, admin_of=[self.acme])
        )
        self.assertEqual(self.client.get(LIST).status_code, 403)

    @tag("C3")
    def test_a_model_level_permission_for_groups_opens_nothing(self):
        user = create_user(
            "groups",
            is_staff=True,
            permissions=["view_group", "change_group", "delete_group"],
        )
        self.client.force_login(user)
        self.assertEqual(self.client.get("/admin/auth/group/").status_code, 403)
        self.client.post(
            f"/admin/auth/group/{self.acme.admin_id}/change/", {"name": "Mine"}
        )
        self.assertEqual(Organization.objects.get().admin.name, "Canary Ltd Admin")
