"""Which events the audit log records, and that the list is complete."""

import json
import tempfile
from hashlib import sha256
from pathlib import Path

from allauth.mfa.models import Authenticator
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command, get_commands
from django.test import RequestFactory, TestCase, tag

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.models import AuditEvent, Organization
from orgadmin.people.offboarding import offboard
from orgadmin.records.imports.organizations import ImportRefused, import_organizations
from tests.factories import (
    as_file,
    create_organization,
    create_superuser,
    create_user,
    grant,
)

MEMBERSHIP_LOG = "The membership log has it."
HISTORY = "The history of the organization has it."
ONLY_READS = "It reads only."
EACH_OBJECT = "Each model that it saves or deletes records it."
DATABASE = "Whoever can run it can read and write the database anyway."

# What the actions of the lists record, or why they record nothing.
ACTIONS = {
    "auth.group.delete_selected": {SecurityEvent.GROUP_DELETED},
    "orgadmin.contact.delete_selected": HISTORY,
    "orgadmin.organization.delete_selected": {SecurityEvent.ORGANIZATIONS_ARCHIVED},
    "orgadmin.organization.give_role": "It leads to a page that asks first.",
    "orgadmin.user.delete_selected": {SecurityEvent.USER_DELETED},
    "orgadmin.user.offboard_selected": "It leads to a page that asks first.",
    "orgadmin.user.remove_second_factor": {SecurityEvent.FACTOR_REMOVED},
}

# The same for the pages of each model. Django's own are "add", "change", "changelist",
# "delete" and "history".
STOCK = {"add", "change", "changelist", "delete", "history"}
PAGES = {
    "auth.group.add": {SecurityEvent.PERMISSIONS_CHANGED},
    "auth.group.change": {
        SecurityEvent.GROUP_RENAMED,
        SecurityEvent.PERMISSIONS_CHANGED,
    },
    "auth.group.changelist": ONLY_READS,
    "auth.group.delete": {SecurityEvent.GROUP_DELETED},
    "auth.group.history": ONLY_READS,
    "orgadmin.accessreview.add": {SecurityEvent.REVIEW_STARTED},
    "orgadmin.accessreview.cancel": {SecurityEvent.REVIEW_CANCELLED},
    "orgadmin.accessreview.change": ONLY_READS,
    "orgadmin.accessreview.changelist": ONLY_READS,
    "orgadmin.accessreview.close": {SecurityEvent.REVIEW_CLOSED},
    "orgadmin.accessreview.delete": ONLY_READS,
    "orgadmin.accessreview.evidence": {SecurityEvent.EXPORTED},
    "orgadmin.accessreview.history": ONLY_READS,
    "orgadmin.accessreview.other_access": "The review keeps who decided what.",
    "orgadmin.accessreview.overview": "The review keeps who was asked when.",
    "orgadmin.auditevent.add": ONLY_READS,
    "orgadmin.auditevent.change": ONLY_READS,
    "orgadmin.auditevent.changelist": ONLY_READS,
    "orgadmin.auditevent.delete": ONLY_READS,
    "orgadmin.auditevent.export": {SecurityEvent.EXPORTED},
    "orgadmin.auditevent.export_workbook": {SecurityEvent.EXPORTED},
    "orgadmin.auditevent.history": ONLY_READS,
    "orgadmin.contact.add": HISTORY,
    "orgadmin.contact.change": HISTORY,
    "orgadmin.contact.changelist": ONLY_READS,
    "orgadmin.contact.delete": HISTORY,
    "orgadmin.contact.history": ONLY_READS,
    "orgadmin.import.add": ONLY_READS,
    "orgadmin.import.change": ONLY_READS,
    "orgadmin.import.changelist": ONLY_READS,
    "orgadmin.import.delete": ONLY_READS,
    "orgadmin.import.history": ONLY_READS,
    "orgadmin.import.left_out": "It gives rows back to the author of the file.",
    "orgadmin.import.overview": {SecurityEvent.IMPORTED},
    "orgadmin.import.undo": {SecurityEvent.IMPORT_UNDONE},
    "orgadmin.membershipevent.add": ONLY_READS,
    "orgadmin.membershipevent.change": ONLY_READS,
    "orgadmin.membershipevent.changelist": ONLY_READS,
    "orgadmin.membershipevent.delete": ONLY_READS,
    "orgadmin.membershipevent.history": ONLY_READS,
    "orgadmin.organization.access": ONLY_READS,
    "orgadmin.organization.add": HISTORY,
    "orgadmin.organization.archived": ONLY_READS,
    "orgadmin.organization.archived_purge": {SecurityEvent.ORGANIZATIONS_DELETED},
    "orgadmin.organization.archived_record": ONLY_READS,
    "orgadmin.organization.archived_restore": {SecurityEvent.ORGANIZATIONS_RESTORED},
    "orgadmin.organization.archived_trash": {SecurityEvent.ORGANIZATIONS_TRASHED},
    "orgadmin.organization.change": HISTORY,
    "orgadmin.organization.changelist": ONLY_READS,
    "orgadmin.organization.contacts": ONLY_READS,
    "orgadmin.organization.delete": {SecurityEvent.ORGANIZATIONS_ARCHIVED},
    "orgadmin.organization.export": {SecurityEvent.EXPORTED},
    "orgadmin.organization.export_workbook": {SecurityEvent.EXPORTED},
    "orgadmin.organization.history": ONLY_READS,
    "orgadmin.organization.import": {SecurityEvent.IMPORTED},
    "orgadmin.organization.import_template": ONLY_READS,
    "orgadmin.organization.ledger": {SecurityEvent.EXPORTED},
    "orgadmin.organization.overview": ONLY_READS,
    "orgadmin.organization.people": MEMBERSHIP_LOG,
    "orgadmin.organization.requests": {
        SecurityEvent.ACCESS_DECLINED,
        SecurityEvent.ACCESS_LINK_CREATED,
        SecurityEvent.ACCESS_LINK_REMOVED,
    },
    "orgadmin.organization.review": "The review and the membership log have it.",
    "orgadmin.organization.restore": {SecurityEvent.VERSION_RESTORED},
    "orgadmin.reviewrhythm.add": "Each review that it starts is recorded.",
    "orgadmin.reviewrhythm.change": "Each review that it starts is recorded.",
    "orgadmin.reviewrhythm.changelist": ONLY_READS,
    "orgadmin.reviewrhythm.delete": ONLY_READS,
    "orgadmin.reviewrhythm.history": ONLY_READS,
    "orgadmin.user.access": ONLY_READS,
    "orgadmin.user.activity": ONLY_READS,
    "orgadmin.user.add": {SecurityEvent.USER_CREATED},
    "orgadmin.user.bulk_end": {
        SecurityEvent.DEACTIVATED,
        SecurityEvent.EXPORTED,
        SecurityEvent.ROLES_CHANGED,
    },
    "orgadmin.user.bulk_give": {SecurityEvent.EXPORTED, SecurityEvent.ROLES_CHANGED},
    "orgadmin.user.bulk_job": ONLY_READS,
    "orgadmin.user.bulk_replace": {
        SecurityEvent.EXPORTED,
        SecurityEvent.ROLES_CHANGED,
    },
    "orgadmin.user.change": {
        SecurityEvent.EMAIL_CHANGED,
        SecurityEvent.FLAGS_CHANGED,
        SecurityEvent.PERMISSIONS_CHANGED,
        SecurityEvent.USERNAME_CHANGED,
    },
    "orgadmin.user.changelist": {SecurityEvent.PEOPLE_VIEWED},
    "orgadmin.user.company": {SecurityEvent.PROVIDER_UNLINKED},
    "orgadmin.user.delete": {SecurityEvent.USER_DELETED},
    "orgadmin.user.erase": {SecurityEvent.PERSON_ERASED},
    "orgadmin.user.export": {SecurityEvent.PERSON_EXPORTED},
    "orgadmin.user.export_list": {SecurityEvent.EXPORTED},
    "orgadmin.user.export_list_workbook": {SecurityEvent.EXPORTED},
    "orgadmin.user.history": ONLY_READS,
    "orgadmin.user.import": {SecurityEvent.IMPORTED},
    "orgadmin.user.import_template": ONLY_READS,
    "orgadmin.user.leave": {SecurityEvent.DEACTIVATED},
    "orgadmin.user.organizations": ONLY_READS,
    "orgadmin.user.overview": ONLY_READS,
    "orgadmin.user.password_change": {SecurityEvent.PASSWORD_CHANGED},
    "orgadmin.user.password_link": {SecurityEvent.PASSWORD_LINK_REQUESTED},
    "orgadmin.user.second_factor": {SecurityEvent.FACTOR_REMOVED},
    "orgadmin.user.suggest": {SecurityEvent.PEOPLE_VIEWED},
    "orgadmin.user.sign_out": {SecurityEvent.SESSIONS_ENDED},
    "orgadmin.user.view_as": {SecurityEvent.VIEWING_STARTED},
}

# The same for commands. Those of Django that only read or write files are left out.
COMMANDS = {
    "account_unsetmultipleprimaryemails": "No page uses the table that it changes.",
    "assign": MEMBERSHIP_LOG,
    "changepassword": {SecurityEvent.PASSWORD_CHANGED},
    "clean_duplicate_history": DATABASE,
    "clean_old_history": DATABASE,
    "clean_orphan_obj_perms": "It removes generic permissions, which nothing uses.",
    "clearsessions": "It removes sessions that have expired.",
    "create_search_indexes": "It changes no rows.",
    "createsuperuser": {SecurityEvent.USER_CREATED},
    "db_worker": "It runs the tasks of pages, which record what they do.",
    "demo": EACH_OBJECT,
    "doctor": {SecurityEvent.REPAIRED},
    "encrypt_secrets": "It stores the same secrets, encrypted with another key.",
    "erase_person": {SecurityEvent.PERSON_ERASED},
    "explain": ONLY_READS,
    "export_person": {SecurityEvent.PERSON_EXPORTED},
    "import_organizations": {SecurityEvent.IMPORTED},
    "import_people": {SecurityEvent.IMPORTED},
    "loaddata": {SecurityEvent.FIXTURES_LOADED},
    "members": ONLY_READS,
    "migrate": "It changes the schema, for each release in the same way.",
    "populate_history": DATABASE,
    "prune_db_task_results": "It deletes tasks that are done.",
    "remove_stale_contenttypes": DATABASE,
    "report_failure": "It sends mail about the machine.",
    "show_settings": ONLY_READS,
    "sqlsequencereset": ONLY_READS,
    "worker": "It sends mail that pages have recorded.",
}
IGNORED_APPS = {
    "django.core",
    "django.contrib.staticfiles",
    "whitenoise.runserver_nostatic",
}


def list_actions():
    """Return the names of the actions that a superuser is offered in lists."""
    request = RequestFactory().get("/")
    request.user = create_superuser()
    names = set()
    for model, model_admin in admin.site._registry.items():
        for name in model_admin.get_actions(request):
            names.add(f"{model._meta.label_lower}.{name}")
    return names


def list_pages():
    """Return the names of all pages of the models."""
    names = set()
    for model, model_admin in admin.site._registry.items():
        prefix = f"{model._meta.app_label}_{model._meta.model_name}_"
        for url in model_admin.get_urls():
            if url.name is not None:
                page = url.name.removeprefix(prefix)
                if page == "auth_user_password_change":
                    page = "password_change"
                names.add(f"{model._meta.label_lower}.{page}")
    return names


@tag("G3")
class CompletenessTests(TestCase):
    """A new action, page or command must be recorded, or listed as an exception."""

    def test_every_action_is_classified(self):
        self.assertEqual(list_actions(), set(ACTIONS))

    def test_every_page_is_classified(self):
        self.assertEqual(list_pages(), set(PAGES))

    def test_every_command_is_classified(self):
        installed = {config.name for config in apps.get_app_configs()} - IGNORED_APPS
        commands = {name for name, app in get_commands().items() if app in installed}
        self.assertEqual(commands, set(COMMANDS))


class RecordingTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()
        cls.anna = create_user("anna", email="anna@example.com")
        cls.acme = create_organization("Acme")
        cls.friends = Group.objects.create(name="Friends")
        cls.permission = Permission.objects.get(codename="view_user")

    def setUp(self):
        self.client.force_login(self.root)
        last = AuditEvent.objects.order_by("pk").last()
        self.before = last.pk if last else 0

    def list_new(self):
        return list(AuditEvent.objects.filter(pk__gt=self.before).order_by("pk"))

    def get_new(self, event):
        """Return the only new event of a kind."""
        [found] = [row for row in self.list_new() if row.event == event]
        return found

    def assert_new(self, event, *, actor=None, user=None, **details):
        row = self.get_new(event)
        self.assertEqual(row.actor_key, actor.pk if actor else None)
        self.assertEqual(row.user_key, user.pk if user else None)
        self.assertEqual(row.details, details)
        return row

    def post_person(self, user, **data):
        data = {
            "username": user.username,
            "email": user.email,
            "date_joined_0": "2026-01-01",
            "date_joined_1": "00:00:00",
            "is_active": "on",
        } | data
        url = f"/admin/orgadmin/user/{user.pk}/change/"
        self.assertEqual(self.client.post(url, data).status_code, 302)

    @tag("G3")
    def test_a_password_that_a_superuser_sets(self):
        password = "correct horse battery staple"
        url = f"/admin/orgadmin/user/{self.anna.pk}/password/"
        data = {"password1": password, "password2": password, "usable_password": "true"}
        self.assertEqual(self.client.post(url, data).status_code, 302)
        self.assert_new(SecurityEvent.PASSWORD_CHANGED, actor=self.root, user=self.anna)

    @tag("G3")
    def test_the_own_password(self):
        password = "correct horse battery staple"
        data = {
            "old_password": "secret",
            "new_password1": password,
            "new_password2": password,
        }
        response = self.client.post("/admin/password_change/", data)
        self.assertEqual(response.status_code, 302)
        self.assert_new(SecurityEvent.PASSWORD_CHANGED, actor=self.root, user=self.root)

    @tag("G3")
    def test_second_factors_that_a_superuser_removes(self):
        Authenticator.objects.create(user=self.anna, type="totp", data={})
        data = {
            "action": "remove_second_factor",
            "_selected_action": [self.anna.pk],
            "post": "yes",
        }
        self.client.post("/admin/orgadmin/user/", data)
        self.assert_new(
            SecurityEvent.FACTOR_REMOVED,
            actor=self.root,
            user=self.anna,
            factors=["totp"],
        )

    @tag("G3")
    def test_permissions_of_a_person(self):
        self.post_person(self.anna, user_permissions=[self.permission.pk])
        self.assert_new(
            SecurityEvent.PERMISSIONS_CHANGED,
            actor=self.root,
            user=self.anna,
            added=["orgadmin.view_user"],
        )

    def test_permissions_that_a_person_loses(self):
        self.anna.user_permissions.add(self.permission)
        for remove in (
            lambda: self.anna.user_permissions.remove(self.permission),
            lambda: self.anna.user_permissions.clear(),
            lambda: self.permission.user_set.clear(),
        ):
            self.anna.user_permissions.add(self.permission)
            self.setUp()
            remove()
            self.assert_new(
                SecurityEvent.PERMISSIONS_CHANGED,
                user=self.anna,
                removed=["orgadmin.view_user"],
            )

    def test_what_does_not_change_is_not_recorded(self):
        self.anna.user_permissions.remove(self.permission)
        self.anna.groups.clear()
        self.friends.permissions.clear()
        self.assertEqual(self.list_new(), [])

    def test_groups_of_a_person_except_roles(self):
        groups = [self.friends.pk, self.acme.admin_id]
        self.post_person(self.anna, groups=groups)
        row = self.assert_new(
            SecurityEvent.PERMISSIONS_CHANGED,
            actor=self.root,
            user=self.anna,
            **{"groups added": [self.friends.pk]},
        )
        self.assertEqual(row.personal, {"groups": "Friends"})

    def test_groups_through_the_group(self):
        self.friends.user_set.add(self.anna, self.root)
        rows = self.list_new()
        self.assertEqual({row.user_key for row in rows}, {self.anna.pk, self.root.pk})
        for row in rows:
            self.assertEqual(row.details, {"groups added": [self.friends.pk]})

    @tag("G3")
    def test_permissions_and_the_name_of_a_group(self):
        url = f"/admin/auth/group/{self.friends.pk}/change/"
        data = {"name": "New friends", "permissions": [self.permission.pk]}
        self.assertEqual(self.client.post(url, data).status_code, 302)
        self.assert_new(
            SecurityEvent.PERMISSIONS_CHANGED,
            actor=self.root,
            group=self.friends.pk,
            added=["orgadmin.view_user"],
        )
        row = self.assert_new(
            SecurityEvent.GROUP_RENAMED, actor=self.root, group=self.friends.pk
        )
        self.assertEqual(row.personal, {"group": "New friends"})

    @tag("G3")
    def test_deleted_groups(self):
        self.friends.permissions.add(self.permission)
        self.friends.user_set.add(self.anna)
        pk = self.friends.pk
        self.client.post(f"/admin/auth/group/{pk}/delete/", {"post": "yes"})
        row = self.assert_new(
            SecurityEvent.GROUP_DELETED,
            actor=self.root,
            group=pk,
            permissions=["orgadmin.view_user"],
            members=1,
        )
        self.assertEqual(row.personal, {"group": "Friends"})
        self.assertFalse(Group.objects.filter(pk=pk).exists())

    @tag("G3")
    def test_offboarding(self):
        self.anna.user_permissions.add(self.permission)
        self.anna.groups.add(self.friends, self.acme.admin)
        grant(self.anna, "view_organization", self.acme)
        self.setUp()
        offboard(self.anna, actor=self.root, confirmed=[self.acme.pk])
        rows = self.list_new()
        self.assertEqual({row.actor_key for row in rows}, {self.root.pk})
        self.assertEqual({row.user_key for row in rows}, {self.anna.pk})
        self.assertCountEqual(
            [row.event for row in rows],
            [
                *[SecurityEvent.PERMISSIONS_CHANGED] * 3,
                SecurityEvent.PASSWORD_CHANGED,
                SecurityEvent.DEACTIVATED,
            ],
        )

    @tag("G3")
    def test_exports_without_what_was_searched_for(self):
        response = self.client.get(
            "/admin/orgadmin/organization/export/?q=Quist", REMOTE_ADDR="192.0.2.77"
        )
        row = self.assert_new(
            SecurityEvent.EXPORTED,
            actor=self.root,
            content="organizations",
            filters=["q"],
        )
        self.assertNotIn("Quist", str(row.__dict__))
        self.assertEqual(row.network, "192.0.2.0/24")
        self.assertEqual(row.request_id, response.headers["X-Request-ID"])

    def test_exports_of_the_membership_log(self):
        create_user("zoe", admin_of=[self.acme])
        self.setUp()
        url = f"/admin/orgadmin/organization/{self.acme.pk}/ledger/?csv=1&on=2026-01-31"
        self.client.get(url)
        self.assert_new(
            SecurityEvent.EXPORTED,
            actor=self.root,
            content="membership log",
            organization=self.acme.pk,
            filters=["on"],
        )

    @tag("G3")
    def test_imports_with_numbers_and_a_digest(self):
        import_organizations(as_file("name\nNew\n"), actor=self.root)
        row = self.get_new(SecurityEvent.IMPORTED)
        self.assertEqual(row.actor_key, self.root.pk)
        numbers = {"created": 1, "changed": 0, "people": 0, "invited": 0, "ends": 0}
        digest = sha256(b"name\nNew\n").hexdigest()
        self.assertEqual(row.details, numbers | {"sha256": digest})

    def test_previews_and_refused_imports_are_not_recorded(self):
        import_organizations(as_file("name\nNew\n"), actor=self.root, dry_run=True)
        with self.assertRaises(ImportRefused):
            import_organizations(as_file("name,email\nNew,77\n"), actor=self.root)
        self.assertEqual(self.list_new(), [])

    @tag("G3")
    def test_deleted_organizations(self):
        pks = [self.acme.pk, create_organization("Other").pk]
        Organization.objects.all().delete(actor=self.root)
        self.assert_new(
            SecurityEvent.ORGANIZATIONS_DELETED,
            actor=self.root,
            organizations=sorted(pks),
        )

    @tag("G3")
    def test_restored_versions(self):
        version = self.acme.history.get()
        self.acme.name = "New"
        self.acme.save()
        url = f"/admin/orgadmin/organization/{self.acme.pk}/restore/"
        self.client.post(f"{url}?to={version.pk}")
        self.assert_new(
            SecurityEvent.VERSION_RESTORED,
            actor=self.root,
            organization=self.acme.pk,
            version=version.pk,
        )

    @tag("G3")
    def test_views_of_all_people_once_per_session_and_hour(self):
        for _ in range(3):
            self.client.get("/admin/orgadmin/user/")
            self.client.get("/admin/orgadmin/user/?q=x")
        self.assert_new(SecurityEvent.PEOPLE_VIEWED, actor=self.root)
        session = self.client.session
        session["people_viewed_at"] -= 3_601
        session.save()
        self.client.get("/admin/orgadmin/user/")
        self.assertEqual(len(self.list_new()), 2)

    def test_choices_of_people_count_as_a_view(self):
        query = {
            "app_label": "orgadmin",
            "model_name": "organizationuserobjectpermission",
            "field_name": "user",
        }
        response = self.client.get("/admin/autocomplete/", query)
        self.assertEqual(response.status_code, 200)
        self.assert_new(SecurityEvent.PEOPLE_VIEWED, actor=self.root)

    def test_suggestions_count_once_an_hour_and_leave_the_session_alone(self):
        """They run beside a form, whose message the session keeps."""
        before = dict(self.client.session)
        url = f"/admin/orgadmin/organization/{self.acme.pk}/people/?suggest=an"
        for _ in range(2):
            self.assertEqual(self.client.get(url).status_code, 200)
        self.assert_new(SecurityEvent.PEOPLE_VIEWED, actor=self.root)
        self.assertEqual(dict(self.client.session), before)

    def test_people_who_may_not_see_the_list_have_not_viewed_it(self):
        self.client.force_login(create_user("zoe", admin_of=[self.acme]))
        self.setUp()
        self.client.force_login(create_user("yves", admin_of=[self.acme]))
        self.client.get("/admin/orgadmin/user/")
        events = {row.event for row in self.list_new()}
        self.assertNotIn(SecurityEvent.PEOPLE_VIEWED, events)

    def test_fixtures_are_one_event(self):
        call_command("loaddata", self.write_fixture(), verbosity=0)
        self.assert_new(SecurityEvent.FIXTURES_LOADED, fixtures=1)
        self.assertEqual(len(self.list_new()), 1)

    def write_fixture(self):
        """Write a fixture in which a person has a permission, and return its path."""
        fields = {
            "username": "loaded",
            "password": "!",
            "user_permissions": [["view_user", "orgadmin", "user"]],
        }
        objects = [{"model": "orgadmin.user", "pk": 990, "fields": fields}]
        folder = self.enterContext(tempfile.TemporaryDirectory())
        file = Path(folder, "people.json")
        file.write_text(json.dumps(objects))
        return file
