"""Pages about something that has 5,000 of everything."""

import json

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.test import TestCase, tag
from django.urls import reverse
from django.utils import timezone

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.access.membership_log import Event
from orgadmin.models import (
    AuditEvent,
    Contact,
    Invitation,
    KeptLogEntry,
    MembershipEvent,
    Organization,
    OrganizationUserObjectPermission,
    User,
)
from orgadmin.people.membership import Membership

from .factories import create_organization, create_superuser, create_user

MANY = 5_000
BATCH = 1_000

# The largest page, in bytes of HTML that is not compressed.
LARGEST_PAGE = 150_000

# How many queries each page runs as a superuser.
QUERIES_OF_ORGANIZATION = {
    "change": 8,
    "contacts": 6,
    # One of them finds out how people are called who made changes.
    "people": 12,
    "ledger": 7,
    "access": 8,
    "history": 10,
    "delete": 6,
}
QUERIES_OF_PERSON = {
    "change": 8,
    "overview": 5,
    "organizations": 7,
    "access": 8,
    "activity": 5,
    "leave": 9,
    "company": 4,
    "export": 4,
    # The number depends on how many batches of rows name the person.
    "erase": None,
    "history": 10,
    "second_factor": 3,
    "sign_out": 3,
    "password_link": 3,
}
QUERIES_OF_LISTS = {
    "organization": 5,
    "contact": 4,
    "user": 5,
    "membershipevent": 4,
    "auditevent": 4,
}


def get_url(name, *args):
    return reverse(f"admin:orgadmin_{name}", args=args)


def list_fields(response):
    """Return the fields that a browser would send back, with the values of the page."""
    forms = [response.context["adminform"].form]
    for inline in response.context["inline_admin_formsets"]:
        forms += [inline.formset.management_form, *inline.formset.forms]
    data = {}
    for form in forms:
        for bound in form:
            value = bound.value()
            if isinstance(value, list):
                data[bound.html_name] = [getattr(item, "pk", item) for item in value]
            elif value not in (None, False):
                data[bound.html_name] = value
    return data


@tag("H9")
class CrowdedTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()
        cls.acme = create_organization("Acme")
        cls.admin = create_user("admin", admin_of=[cls.acme])
        cls.reviewer = create_user("reviewer", reviewer_of=[cls.acme])
        cls.busy = create_user("busy")
        cls.friends = Group.objects.create(name="Friends")
        cls.busy.groups.add(cls.friends)
        cls.users = User.objects.bulk_create(
            User(username=f"person-{number}", email=f"p{number}@example.com")
            for number in range(MANY)
        )
        cls.organizations = Organization.objects.bulk_create(
            Organization(name=f"Many {number}") for number in range(MANY)
        )
        cls.add_memberships()
        cls.add_grants()
        cls.add_contacts_and_invitations()
        cls.add_history()
        cls.add_logs()

    @classmethod
    def add_memberships(cls):
        """Put 5,000 people into two groups, and one person into 5,000 groups."""
        memberships = []
        for user in cls.users:
            memberships.append(Membership(user=user, group_id=cls.acme.admin_id))
            memberships.append(Membership(user=user, group_id=cls.friends.pk))
        for organization in cls.organizations:
            memberships.append(
                Membership(user=cls.busy, group_id=organization.admin_id)
            )
        Membership.objects.bulk_create(memberships, batch_size=BATCH)

    @classmethod
    def add_grants(cls):
        view = Permission.objects.get(codename="view_organization")
        pairs = [(cls.acme, user) for user in cls.users]
        pairs += [(organization, cls.busy) for organization in cls.organizations]
        OrganizationUserObjectPermission.objects.bulk_create(
            [
                OrganizationUserObjectPermission(
                    content_object=organization, user=user, permission=view
                )
                for organization, user in pairs
            ],
            batch_size=BATCH,
        )

    @classmethod
    def add_contacts_and_invitations(cls):
        Contact.objects.bulk_create(
            Contact(
                organization=cls.acme,
                name=f"Contact {number:04}",
                role="Warehouse",
                email=f"contact-{number}@example.com",
                phone="+49 30 1234567",
            )
            for number in range(MANY)
        )
        Invitation.objects.bulk_create(
            Invitation(
                organization=cls.acme,
                email=f"invited-{number}@example.com",
                role="reviewer",
                invited_by=cls.root,
                token_hash=f"{number:064}",
            )
            for number in range(MANY)
        )

    @classmethod
    def add_history(cls):
        version = cls.acme.history.get()
        columns = type(version)._meta.concrete_fields
        values = {
            column.attname: getattr(version, column.attname)
            for column in columns
            if not column.primary_key
        }
        type(version).objects.bulk_create(
            type(version)(**values | {"phone": str(number), "history_type": "~"})
            for number in range(MANY)
        )

    @classmethod
    def add_logs(cls):
        MembershipEvent.objects.bulk_create(
            MembershipEvent(
                event=Event.JOINED,
                user_key=user.pk,
                user_name=user.username,
                organization_key=cls.acme.pk,
                organization_name="Acme",
                role="admin",
                actor_key=cls.root.pk,
                actor_name="root",
            )
            for user in cls.users
        )
        message = json.dumps([{"changed": {"fields": ["Phone"]}}])
        for obj in (cls.acme, cls.busy):
            LogEntry.objects.bulk_create(
                LogEntry(
                    user=cls.busy,
                    content_type=ContentType.objects.get_for_model(obj),
                    object_id=str(obj.pk),
                    object_repr=str(obj),
                    action_flag=CHANGE,
                    change_message=message,
                    action_time=timezone.now(),
                )
                for _number in range(MANY)
            )
            cls.keep_log_entries(obj)
        AuditEvent.objects.bulk_create(
            AuditEvent(
                event=SecurityEvent.PASSWORD_CHANGED,
                user_key=cls.busy.pk,
                user_name="busy",
                actor_key=cls.root.pk,
                actor_name="root",
            )
            for _number in range(MANY)
        )

    @classmethod
    def keep_log_entries(cls, obj):
        """Add what people did whose accounts were deleted."""
        details = {"name": "contact", "object": "Eve", "fields": ["Phone"]}
        message = json.dumps([{"changed": details}])
        first_key = cls.root.pk + 1_000_000
        KeptLogEntry.objects.bulk_create(
            KeptLogEntry(
                entry_key=number + 1,
                user_key=first_key + number,
                user_name=f"former-{number}",
                content_type=ContentType.objects.get_for_model(obj),
                object_id=str(obj.pk),
                object_repr=str(obj),
                action_flag=CHANGE,
                change_message=message,
                action_time=timezone.now(),
            )
            for number in range(MANY)
        )

    def setUp(self):
        self.client.force_login(self.root)
        # Django remembers the content types.
        self.client.get("/admin/")

    def assert_opens(self, url, queries=None):
        if queries is None:
            response = self.client.get(url)
        else:
            with self.assertNumQueries(queries):
                response = self.client.get(url)
        self.assertEqual(response.status_code, 200)
        self.assertLess(len(response.content), LARGEST_PAGE)
        return response

    def test_the_pages_of_an_organization_open(self):
        for page, queries in QUERIES_OF_ORGANIZATION.items():
            with self.subTest(page=page):
                self.assert_opens(
                    get_url(f"organization_{page}", self.acme.pk), queries
                )

    def test_the_pages_of_a_person_open(self):
        for page, queries in QUERIES_OF_PERSON.items():
            with self.subTest(page=page):
                url = get_url(f"user_{page}", self.busy.pk)
                self.assert_opens(url, queries)

    def test_the_page_that_sets_a_password_opens(self):
        url = reverse("admin:auth_user_password_change", args=[self.busy.pk])
        self.assert_opens(url)

    def test_the_page_that_deletes_a_person_counts_what_goes_with_them(self):
        response = self.assert_opens(get_url("user_delete", self.busy.pk))
        self.assertContains(response, "5001")

    def test_the_pages_of_a_group_open(self):
        for page in ("change", "delete", "history"):
            with self.subTest(page=page):
                url = reverse(f"admin:auth_group_{page}", args=[self.friends.pk])
                self.assert_opens(url)

    def test_lists_and_the_home_page_open(self):
        for name, queries in QUERIES_OF_LISTS.items():
            with self.subTest(list=name):
                url = get_url(f"{name}_changelist")
                # The first request is recorded in the audit log for some lists.
                self.client.get(url)
                self.assert_opens(url, queries)
        self.assert_opens("/admin/")
        self.assert_opens("/admin/search/?q=m")
        self.assert_opens("/admin/activity/")

    def test_an_admin_and_a_reviewer_open_the_pages_of_their_organization(self):
        pages = {
            self.admin: list(QUERIES_OF_ORGANIZATION),
            self.reviewer: ["change", "contacts", "history"],
        }
        for user, names in pages.items():
            self.client.force_login(user)
            for page in set(names) - {"delete"}:
                with self.subTest(user=user.username, page=page):
                    self.assert_opens(get_url(f"organization_{page}", self.acme.pk))

    def test_a_person_with_many_organizations_opens_their_pages(self):
        self.client.force_login(self.busy)
        for url in ("/admin/", "/admin/search/?q=m", "/admin/activity/"):
            self.assert_opens(url)
        self.assert_opens(get_url("organization_changelist"))

    def test_an_organization_can_be_saved_and_keeps_its_other_contacts(self):
        url = get_url("organization_change", self.acme.pk)
        data = list_fields(self.assert_opens(url))
        # Someone adds a contact before those that the page shows.
        self.acme.contacts.create(name="Aaron")
        data["phone"] = "2"
        data["contacts-0-phone"] = "3"
        data["contacts-1-DELETE"] = "on"
        with self.assertNumQueries(16):
            response = self.client.post(url, data)
        self.assertEqual(response.status_code, 302)
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.phone, "2")
        self.assertEqual(self.acme.contacts.count(), MANY)
        self.assertEqual(self.acme.contacts.get(name="Contact 0000").phone, "3")
        self.assertFalse(self.acme.contacts.filter(name="Contact 0001").exists())

    def test_a_person_can_be_saved_and_keeps_their_other_groups(self):
        url = get_url("user_change", self.busy.pk)
        response = self.assert_opens(url)
        self.assertContains(response, "5001 groups")
        data = list_fields(response)
        self.assertIn(self.friends.pk, data["groups"])
        data["groups"].remove(self.friends.pk)
        left = data["groups"].pop()
        # Someone adds a group that the page does not show.
        self.busy.groups.add(self.acme.reviewer)
        response = self.client.post(url, {**data, "first_name": "Busy"})
        asked = response.context["adminform"].form.data["confirmed_organizations"]
        response = self.client.post(
            url, {**data, "first_name": "Busy", "confirmed_organizations": asked}
        )
        self.assertEqual(response.status_code, 302)
        self.busy.refresh_from_db()
        self.assertEqual(self.busy.first_name, "Busy")
        self.assertEqual(self.busy.groups.count(), MANY)
        self.assertFalse(self.busy.groups.filter(pk=left).exists())
        self.assertTrue(self.busy.groups.contains(self.acme.reviewer))

    def test_all_contacts_and_invitations_can_be_reached(self):
        url = get_url("organization_contacts", self.acme.pk)
        self.assertContains(self.client.get(f"{url}?p=50"), "Contact 4999")
        url = get_url("organization_people", self.acme.pk)
        response = self.client.get(f"{url}?invitations=100")
        self.assertContains(response, "invited-999@example.com")

    def test_too_many_rows_for_an_action_are_refused_before_the_page_is_sent(self):
        contacts = list(self.acme.contacts.values_list("pk", flat=True)[:1])
        data = {
            "action": "delete_selected",
            "_selected_action": contacts,
            "select_across": "1",
        }
        response = self.client.post(get_url("contact_changelist"), data, follow=True)
        self.assertContains(response, "More than 500 rows are selected")
        self.assertEqual(Contact.objects.count(), MANY)
