"""Names that look alike are compared when asking whether a name already exists."""

import os
import time
import unicodedata
from functools import partial
from unittest import mock, skipUnless

from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import QuerySet
from django.test import (
    Client,
    SimpleTestCase,
    TestCase,
    TransactionTestCase,
    tag,
)
from django.test.utils import CaptureQueriesContext

from orgadmin.models import Organization, User
from orgadmin.models.look_alikes import KEY_LENGTH, NAME_LOCK, TABLE, make_key
from orgadmin.records.doctor.doctor import examine_organizations

from .factories import NO_CONTACTS, create_organization, create_superuser, create_user
from .look_alikes import make_table, write_table
from .together import run_together

LIST = "/admin/orgadmin/organization/"

LOOK_ALIKE = [
    ("PaypaI", "Paypal"),  # a capital i
    ("НELLO", "Hello"),  # a Cyrillic H
    ("асме", "ACME"),  # Cyrillic
    ("ΑCME", "Acme"),  # a Greek A
    ("rnodern", "modern"),
    ("0range 1td", "Orange Ltd"),
    ("ＡＣＭＥ", "Acme"),
    ("gооgle", "google"),  # Cyrillic o
    ("аррӏе", "apple"),
    ("Straße", "STRASSE"),
    ("Ελλάς", "ΕΛΛΆΣ"),
    ("Acme\u200b  Ltd", "acme ltd"),
]
# What the doctor finds in an organization without members and with an old key
SEARCH_AND_ADMIN = ["search text", "no active admin"]

DIFFERENT = [("sun", "fun"), ("Müller", "Muller"), ("Acme", "Acne"), ("日本", "日木")]


class KeyTests(SimpleTestCase):
    @tag("E10")
    def test_names_that_look_alike_have_the_same_key(self):
        for name, other in LOOK_ALIKE:
            with self.subTest(name=name):
                self.assertEqual(make_key(name), make_key(other))

    def test_names_that_look_different_have_different_keys(self):
        for name, other in DIFFERENT:
            with self.subTest(name=name):
                self.assertNotEqual(make_key(name), make_key(other))

    def test_a_key_fits_into_its_column(self):
        self.assertEqual(len(make_key("m" * 255)), KEY_LENGTH)
        self.assertEqual(len(make_key("\ufdfa" * 255)), KEY_LENGTH)

    @skipUnless(unicodedata.unidata_version == "14.0.0", "needs Python 3.11")
    def test_the_table_is_made_from_the_list_of_unicode(self):
        content = write_table(make_table())
        if os.environ.get("WRITE_DOCUMENTS"):
            TABLE.write_text(content, encoding="ascii")
        self.assertEqual(TABLE.read_text(encoding="ascii"), content)


class OrganizationTests(TestCase):
    def add(self, name):
        """Send the form once, and return the errors of the name."""
        self.client.force_login(User.objects.get(username="root"))
        response = self.client.post(f"{LIST}add/", NO_CONTACTS | {"name": name})
        if response.status_code == 302:
            return ""
        return str(response.context["adminform"].form.errors["name"])

    @tag("E10")
    def test_asks_before_an_organization_is_created_that_looks_like_another(self):
        create_superuser()
        for name, other in LOOK_ALIKE:
            with self.subTest(name=name):
                Organization.objects.all().delete()
                existing = create_organization(other)
                self.assertIn(f"/{existing.pk}/overview/", self.add(name))
                self.assertEqual(Organization.objects.count(), 1)
        for name, other in DIFFERENT:
            Organization.objects.all().delete()
            create_organization(other)
            self.assertEqual(self.add(name), "")

    def test_every_way_to_store_a_name_stores_its_key(self):
        acme = create_organization("Acme")
        [bulk] = Organization.objects.bulk_create([Organization(name="Acme")])
        for organization in (acme, bulk):
            organization.refresh_from_db()
            self.assertEqual(organization.name_key, make_key("Acme"))
        acme.name = "New"
        acme.save(update_fields=["name"])
        Organization.objects.filter(pk=bulk.pk).update(name="Other")
        keys = Organization.objects.order_by("pk").values_list("name_key", flat=True)
        self.assertEqual(list(keys), [make_key("New"), make_key("Other")])

    def test_the_doctor_repairs_keys(self):
        create_organization("Acme")
        # As the previous release does, which does not know the column.
        QuerySet.update(Organization.objects.all(), name_key="")
        self.assertEqual(
            [issue.kind for issue in examine_organizations(fix=True)], SEARCH_AND_ADMIN
        )
        self.assertEqual(Organization.objects.get().name_key, make_key("Acme"))


class UserTests(TestCase):
    def setUp(self):
        self.client.force_login(create_superuser())
        create_user("paypal")

    def add(self, username):
        """Send the form to add a person, and return its errors."""
        data = {
            "username": username,
            "password1": "ab8&Zq!uvw-12",
            "password2": "ab8&Zq!uvw-12",
        }
        response = self.client.post("/admin/orgadmin/user/add/", data)
        if response.status_code == 302:
            return {}
        return response.context["adminform"].form.errors

    @tag("E10")
    def test_refuses_a_new_username_that_looks_like_another(self):
        for username in ("PaypaI", "PAYPAL", "раураl", "paypa1"):
            with self.subTest(username=username):
                self.assertIn("username", self.add(username))
        self.assertEqual(self.add("payroll"), {})

    @tag("E10")
    def test_refuses_to_rename_someone_so(self):
        anna = create_user("anna")
        anna.username = "PaypaI"
        with self.assertRaises(ValidationError) as caught:
            anna.full_clean()
        self.assertEqual(list(caught.exception.message_dict), ["username"])

    def test_people_whose_usernames_already_look_alike_can_be_edited(self):
        other = create_user("PaypaI")
        other = User.objects.get(pk=other.pk)
        other.first_name = "Pat"
        other.full_clean()
        other.save()

    def test_every_way_to_store_a_username_stores_its_key(self):
        user = User.objects.get(username="paypal")
        self.assertEqual(user.username_key, make_key("paypal"))
        user.username = "anna"
        user.save()
        User.objects.filter(username="root").update(username="boss")
        User.objects.bulk_create([User(username="bert")])
        for username in ("anna", "boss", "bert"):
            stored = User.objects.get(username=username)
            self.assertEqual(stored.username_key, make_key(username))


def save_slowly(model):
    """Make each save so slow that others can check their names in the meantime."""
    save = model.save

    def wait_and_save(self, *args, **options):
        time.sleep(0.5)
        return save(self, *args, **options)

    return mock.patch.object(model, "save", wait_and_save)


@skipUnless(connection.vendor == "postgresql", "only PostgreSQL has two writers")
class TwoAtOnceTests(TransactionTestCase):
    """Two people save names that look alike at the same moment."""

    def setUp(self):
        self.root = create_superuser()

    def send_together(self, model, *requests):
        """Send forms at the same time, and return the statuses of the responses."""
        functions = []
        for url, data in requests:
            client = Client()
            client.force_login(self.root)
            functions.append(partial(client.post, url, data))
        with save_slowly(model):
            responses = run_together(*functions)
        return sorted(response.status_code for response in responses)

    @tag("E10")
    def test_one_organization_is_created_and_the_other_is_asked_about(self):
        url = f"{LIST}add/"
        requests = [
            (url, NO_CONTACTS | {"name": name}) for name in ("PaypaI", "Paypal")
        ]
        self.assertEqual(self.send_together(Organization, *requests), [200, 302])
        self.assertEqual(Organization.objects.count(), 1)

    @tag("E10")
    def test_one_account_is_created(self):
        password = {
            "usable_password": "true",
            "password1": "correct horse battery",
            "password2": "correct horse battery",
        }
        url = "/admin/orgadmin/user/add/"
        requests = [(url, password | {"username": name}) for name in ("pauI", "paul")]
        self.assertEqual(self.send_together(User, *requests), [200, 302])
        self.assertEqual(User.objects.count(), 2)

    @tag("E10")
    def test_one_account_is_renamed(self):
        requests = []
        for name in ("pauI", "paul"):
            user = create_user(f"before-{name}")
            data = {
                "username": name,
                "is_active": "on",
                "date_joined_0": "2026-01-01",
                "date_joined_1": "00:00",
            }
            requests.append((f"/admin/orgadmin/user/{user.pk}/change/", data))
        self.assertEqual(self.send_together(User, *requests), [200, 302])
        self.assertEqual(User.objects.filter(username__startswith="before").count(), 1)

    @tag("E10")
    def test_reading_and_other_changes_take_no_lock(self):
        acme = create_organization("Acme")
        anna = create_user("anna")
        client = Client()
        client.force_login(self.root)
        change = {
            "username": "anna",
            "first_name": "Anna",
            "is_active": "on",
            "date_joined_0": "2026-01-01",
            "date_joined_1": "00:00",
        }
        person = f"/admin/orgadmin/user/{anna.pk}/change/"
        with CaptureQueriesContext(connection) as queries:
            for url in (LIST, f"{LIST}{acme.pk}/change/", f"{LIST}add/", person):
                self.assertEqual(client.get(url).status_code, 200)
            self.assertEqual(client.post(person, change).status_code, 302)
        locks = [query for query in queries if f"({NAME_LOCK}," in query["sql"]]
        self.assertEqual(locks, [])
