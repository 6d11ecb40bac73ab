"""What a deleted account did stays in the logs, with the name of its owner."""

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import models
from django.test import TestCase, tag

from orgadmin.models import KeptLogEntry, Organization, User
from orgadmin.records.erasure import erase_person
from tests.factories import (
    ADMIN,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)
from tests.migration_case import MigrationCase

ADMIN_URL = "/admin/orgadmin"


class DeletedAuthorTests(TestCase):
    def setUp(self):
        self.root = create_superuser()
        self.acme = create_organization("Acme")
        self.ada = create_user("ada", admin_of=[self.acme])
        self.olga = create_user("olga", admin_of=[self.acme])
        self.staff = create_superuser("steffi")
        self.contact = self.acme.contacts.create(name="Charlie")
        self.group = Group.objects.create(name="Friends")
        for author in (self.olga, self.staff):
            self.acme.phone = f"Phone of {author}"
            self.acme._history_user = author
            self.acme.save()
            self.log(author, self.contact, "role")
            self.log(author, self.ada, "email")
            self.log(author, self.group, "name")
            self.log(author, self.acme, {"name": "contact", "object": "Charlie"})

    def log(self, author, obj, changed):
        details = {"fields": ["role"]}
        if isinstance(changed, dict):
            details |= changed
        LogEntry.objects.log_actions(author.pk, [obj], CHANGE, [{"changed": details}])

    def read(self, path, user):
        """Return the person of each entry of a history page."""
        self.client.force_login(user)
        response = self.client.get(f"{ADMIN_URL}/{path}/history/")
        entries = response.context["action_list"]
        names = [entry.user.get_username() for entry in entries]
        for name in names:
            self.assertContains(response, name)
        return names

    def delete_authors(self):
        User.objects.filter(username="olga").delete()
        self.staff.delete()

    @tag("G9")
    def test_superusers_still_read_who_did_what(self):
        paths = [
            f"organization/{self.acme.pk}",
            f"contact/{self.contact.pk}",
            f"user/{self.ada.pk}",
        ]
        for path in paths:
            before = self.read(path, self.root)
            self.assertIn("olga", before)
            self.assertIn("steffi", before)
        texts = self.read_texts()
        self.delete_authors()
        for path in paths:
            with self.subTest(path):
                names = self.read(path, self.root)
                self.assertEqual(names.count("olga"), 2 if "organ" in path else 1)
                self.assertEqual(names.count("steffi"), 2 if "organ" in path else 1)
        self.assertEqual(self.read_texts(), texts)

    def read_texts(self):
        self.client.force_login(self.root)
        response = self.client.get(f"{ADMIN_URL}/organization/{self.acme.pk}/history/")
        return [
            (entry.action_time, str(entry.get_change_message()))
            for entry in response.context["action_list"]
        ]

    @tag("G9", "A27")
    def test_admins_read_no_names_of_those_who_are_not_members(self):
        self.delete_authors()
        expected = {"An admin of this organization", "Platform staff", "unknown"}
        for path in (f"organization/{self.acme.pk}", f"contact/{self.contact.pk}"):
            with self.subTest(path):
                names = self.read(path, self.ada)
                self.assertEqual(set(names) | {"unknown"}, expected)

    def test_old_rows_get_their_author_when_the_account_is_deleted(self):
        """The previous release writes records without the new columns."""
        history = Organization.history.filter(history_user=self.olga)
        models.QuerySet.update(history, history_user_key=None, history_user_name="")
        self.delete_authors()
        self.assertIn("olga", self.read(f"organization/{self.acme.pk}", self.root))

    def test_the_name_of_the_time_is_recorded(self):
        record = self.acme.history.filter(history_user=self.olga).get()
        self.assertEqual(
            (record.history_user_key, record.history_user_name), (self.olga.pk, "olga")
        )

    def test_pages_of_the_history_continue_over_both_sources(self):
        for number in range(60):
            author = self.olga if number % 2 else self.root
            self.log(author, self.acme, {"name": "contact", "object": f"C{number}"})
        self.delete_authors()
        self.client.force_login(self.root)
        url = f"{ADMIN_URL}/organization/{self.acme.pk}/history/"
        first = self.client.get(url)
        second = self.client.get(url, {"before": str(first.context["older"])})
        texts = [
            entry.get_change_message()
            for page in (first, second)
            for entry in page.context["action_list"]
        ]
        found = [text for text in texts if "“C" in text and "Charlie" not in text]
        expected = [f"Changed role for contact “C{number}”." for number in range(60)]
        self.assertEqual(found, expected[::-1])

    def test_an_erased_person_is_not_named_by_what_others_did(self):
        mary = create_user("mary", first_name="Mary", last_name="Major")
        LogEntry.objects.create(
            user=self.olga,
            content_type=ContentType.objects.get_for_model(User),
            object_id=str(mary.pk),
            object_repr="mary",
            action_flag=ADDITION,
            change_message="Wrote to Mary Major.",
        )
        self.olga.delete()
        erase_person(mary)
        entry = KeptLogEntry.objects.get(
            object_id=str(mary.pk), content_type__model="user"
        )
        self.assertEqual(entry.object_repr, f"erased-{mary.pk}")
        self.assertNotIn("Major", entry.change_message)

    def test_an_erased_author_is_not_named(self):
        erase_person(self.olga)
        names = Organization.history.values_list("history_user_name", flat=True)
        self.assertNotIn("olga", names)
        self.assertIn(f"erased-{self.olga.pk}", names)
        self.olga = User.objects.get(pk=self.olga.pk)
        self.olga.delete()
        self.assertNotIn("olga", self.read(f"organization/{self.acme.pk}", self.root))

    def test_a_role_of_before_does_not_make_a_name_visible(self):
        set_role(self.acme, [self.olga], None)
        set_role(self.acme, [self.ada], ADMIN)
        self.delete_authors()
        self.assertNotIn("olga", self.read(f"contact/{self.contact.pk}", self.ada))


class MigrationTests(MigrationCase):
    def test_names_the_authors_of_existing_records(self):
        olga = create_user("olga")
        acme = create_organization("Acme")
        acme._history_user = olga
        acme.phone = "1"
        acme.save()
        call_command("migrate", "orgadmin", "0036", verbosity=0)
        nobody, by_olga = acme.history.order_by("history_id")
        records = models.QuerySet(type(by_olga))
        records.update(history_user_key=None, history_user_name="")
        call_command("migrate", "orgadmin", "0037", verbosity=0)
        self.assertEqual(
            list(
                records.order_by("history_id").values_list(
                    "history_id", "history_user_key", "history_user_name"
                )
            ),
            [(nobody.pk, None, ""), (by_olga.pk, olga.pk, "olga")],
        )
