"""Forms that create or send something work once, even if they are sent twice."""

import re
from datetime import timedelta
from html import unescape
from threading import Event, Thread
from unittest import mock

from django.contrib import admin
from django.contrib.auth.models import Group
from django.core import mail
from django.db import connection
from django.test import (
    Client,
    TestCase,
    TransactionTestCase,
    skipUnlessDBFeature,
    tag,
)
from django.urls import reverse
from django.utils import timezone

from orgadmin.models import Contact, Invitation, MembershipEvent, Organization, User
from orgadmin.models.sent_form import SentForm
from orgadmin.people import invitations

from .factories import NO_CONTACTS, create_organization, create_superuser, create_user
from .test_import_export import IMPORT, file_of

ORGANIZATIONS = "/admin/orgadmin/organization/"
CONTACTS = "/admin/orgadmin/contact/"
USERS = "/admin/orgadmin/user/"
GROUPS = "/admin/auth/group/"
SENT_TWICE = "This form was sent twice. It was saved only once."


def find_key(response):
    """Return the key of the form on a page."""
    return unescape(re.search(r'name="form_key" value="(.+?)"', response.text)[1])


@tag("H10")
class OnceTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()
        cls.acme = create_organization("Acme")
        cls.ada = create_user("ada", email="ada@example.com", admin_of=[cls.acme])

    def setUp(self):
        self.client.force_login(self.root)
        self.people = f"{ORGANIZATIONS}{self.acme.pk}/people/"

    def send_twice(self, url, data, page=None):
        """Send the form of a page twice, and return both responses."""
        key = find_key(self.client.get(page or url))
        data = {**data, "form_key": key}
        return self.client.post(url, data), self.client.post(url, data, follow=True)

    def test_an_organization_is_added_once(self):
        data = {**NO_CONTACTS, "name": "New"}
        first, second = self.send_twice(f"{ORGANIZATIONS}add/", data)
        new = Organization.objects.get(name="New")
        self.assertRedirects(first, f"{ORGANIZATIONS}{new.pk}/overview/")
        self.assertRedirects(second, f"{ORGANIZATIONS}{new.pk}/overview/")
        self.assertContains(second, SENT_TWICE)

    def test_a_contact_a_person_and_a_group_are_added_once(self):
        password = "correct horse battery staple"
        person = {"username": "new", "password1": password, "password2": password}
        forms = {
            f"{CONTACTS}add/": {"name": "New", "organization": self.acme.pk},
            f"{USERS}add/": {**person, "usable_password": "true"},
            f"{GROUPS}add/": {"name": "New"},
        }
        for url, data in forms.items():
            first, second = self.send_twice(url, data)
            self.assertEqual(first.status_code, 302, url)
            self.assertContains(second, SENT_TWICE)
        self.assertEqual(Contact.objects.filter(name="New").count(), 1)
        self.assertEqual(User.objects.filter(username="new").count(), 1)
        self.assertEqual(Group.objects.filter(name="New").count(), 1)

    def test_every_page_that_adds_something_has_a_key(self):
        request = mock.Mock(user=self.root)
        for model, model_admin in admin.site._registry.items():
            if model_admin.has_add_permission(request):
                label = model._meta.label_lower.replace(".", "_")
                url = reverse(f"admin:{label}_add")
                find_key(self.client.get(url))

    def test_a_contact_on_the_page_of_the_organization_is_added_once(self):
        data = {
            "name": "Acme",
            "contacts-TOTAL_FORMS": "1",
            "contacts-INITIAL_FORMS": "0",
            "contacts-0-name": "New",
        }
        url = f"{ORGANIZATIONS}{self.acme.pk}/change/"
        _first, second = self.send_twice(url, data)
        self.assertRedirects(second, f"{ORGANIZATIONS}{self.acme.pk}/overview/")
        self.assertContains(second, SENT_TWICE)
        self.assertEqual(self.acme.contacts.count(), 1)

    def test_a_popup_passes_on_what_was_added_both_times(self):
        data = {**NO_CONTACTS, "name": "New", "_popup": "1"}
        for response in self.send_twice(f"{ORGANIZATIONS}add/", data):
            self.assertContains(response, "popup_response")
            self.assertContains(response, "New")
        self.assertEqual(Organization.objects.filter(name="New").count(), 1)

    def test_a_form_with_an_error_can_be_sent_again(self):
        url = f"{ORGANIZATIONS}add/"
        key = find_key(self.client.get(url))
        data = {**NO_CONTACTS, "name": "", "form_key": key}
        response = self.client.post(url, data)
        self.assertEqual(find_key(response), key)
        # The first time, the form asks whether this is another organization.
        response = self.client.post(url, {**data, "name": "Acme"})
        self.assertContains(response, "save again")
        namesake = {"name": "Acme", "namesake": "Acme"}
        response = self.client.post(url, {**data, **namesake})
        added = Organization.objects.filter(name="Acme").latest("pk")
        self.assertRedirects(response, f"{ORGANIZATIONS}{added.pk}/overview/")
        self.assertEqual(Organization.objects.filter(name="Acme").count(), 2)

    def test_a_script_without_a_key_adds_as_often_as_it_asks(self):
        for number in range(2):
            data = {**NO_CONTACTS, "name": f"New {number}"}
            self.client.post(f"{ORGANIZATIONS}add/", data)
        self.assertEqual(Organization.objects.filter(name__startswith="New").count(), 2)

    def test_the_key_of_someone_else_means_nothing(self):
        url = f"{ORGANIZATIONS}add/"
        data = {**NO_CONTACTS, "form_key": "guessed"}
        self.client.post(url, {**data, "name": "Secret"})
        self.client.force_login(create_superuser("other"))
        response = self.client.post(url, {**data, "name": "Other"}, follow=True)
        self.assertNotContains(response, SENT_TWICE)
        self.assertTrue(Organization.objects.filter(name="Other").exists())

    def test_a_person_is_invited_once(self):
        self.client.force_login(self.ada)
        data = {
            "add": "1",
            "add-who": "new@example.com",
            "add-role": "reviewer",
        }
        _first, second = self.send_twice(self.people, data)
        self.assertContains(second, SENT_TWICE)
        self.assertEqual(len(mail.outbox), 1)
        self.assertEqual(Invitation.objects.count(), 1)
        self.assertEqual(MembershipEvent.objects.filter(event="invited").count(), 1)

    def test_an_invitation_is_resent_once_and_another_one_as_well(self):
        for name in ("one", "two"):
            self.acme.invitations.create(email=f"{name}@example.com", role="reviewer")
        key = find_key(self.client.get(self.people))
        for invitation in self.acme.invitations.all():
            data = {"invitation": invitation.pk, "resend": "", "form_key": key}
            # The page that is shown has the invitations as they were.
            self.client.post(self.people, data)
        self.assertEqual(len(mail.outbox), 2)
        again = {"invitation": self.acme.invitations.last().pk, "resend": ""}
        self.client.post(self.people, {**again, "form_key": key})
        self.assertEqual(len(mail.outbox), 2)

    def test_an_invitation_that_was_refused_can_be_sent_again(self):
        data = {
            "add": "1",
            "add-who": "new@example.com",
            "add-role": "reviewer",
            "form_key": "key",
        }
        with mock.patch(
            "orgadmin.admin.organizations.people.throttle.count_attempt",
            return_value=False,
        ):
            response = self.client.post(self.people, data)
        self.assertContains(response, "too many emails")
        self.client.post(self.people, data)
        self.assertEqual(len(mail.outbox), 1)

    def test_people_are_added_once(self):
        create_user("anna", email="anna@example.com")
        data = {"add": "1", "add-who": "anna", "add-role": "reviewer"}
        _first, second = self.send_twice(self.people, data)
        self.assertContains(second, SENT_TWICE)
        self.assertNotContains(second, "No changes")

    def test_a_file_is_imported_once(self):
        file = file_of("name\nNew\nOther\n")
        preview = self.client.post(IMPORT, {"file": file}, follow=True)
        data = {
            name: re.search(rf'name="{name}" value="(.*?)"', preview.text)[1]
            for name in ("seen", "form_key")
        }
        url = preview.request["PATH_INFO"]
        first = self.client.post(url, data)
        self.assertRedirects(first, url)
        second = self.client.post(url, data, follow=True)
        self.assertRedirects(second, url)
        self.assertContains(second, SENT_TWICE)
        self.assertEqual(Organization.objects.filter(name="New").count(), 1)

    def test_is_remembered_for_a_day(self):
        SentForm.objects.create(key="1", sent_at=timezone.now() - timedelta(days=1))
        SentForm.objects.create(key="2", sent_at=timezone.now() - timedelta(hours=23))
        data = {**NO_CONTACTS, "name": "New", "form_key": "3"}
        self.client.post(f"{ORGANIZATIONS}add/", data)
        keys = SentForm.objects.values_list("key", flat=True)
        self.assertEqual(len(keys), 2)
        self.assertIn("2", keys)
        # The key is stored as a hash.
        self.assertNotIn("3", keys)


@tag("H10")
@skipUnlessDBFeature("has_select_for_update")
class SecondClickTests(TransactionTestCase):
    """The second request arrives while the first one is being answered."""

    def setUp(self):
        self.root = create_superuser()
        self.has_saved = Event()
        # In the order of the requests. The responses may come in another order.
        self.responses = [None, None]

    def send(self, number, url, data):
        client = Client()
        client.force_login(self.root)
        self.responses[number] = client.post(url, data)
        connection.close()

    def send_twice(self, url, data):
        first = Thread(target=self.send, args=[0, url, data])
        second = Thread(target=self.send, args=[1, url, data])
        first.start()
        self.has_saved.wait(5)
        second.start()
        first.join()
        second.join()

    def make_slow(self, function):
        """Return a function that takes a while after its work is done."""

        def run(*args, **kwargs):
            result = function(*args, **kwargs)
            self.has_saved.set()
            Event().wait(0.5)
            return result

        return run

    def test_an_organization_is_added_once(self):
        data = {**NO_CONTACTS, "name": "New", "namesake": "New", "form_key": "key"}
        slow_save = self.make_slow(Organization.save)
        with mock.patch.object(Organization, "save", slow_save):
            self.send_twice(f"{ORGANIZATIONS}add/", data)
        new = Organization.objects.get(name="New")
        locations = [response["Location"] for response in self.responses]
        self.assertEqual(locations, [f"{ORGANIZATIONS}{new.pk}/overview/"] * 2)

    def test_a_second_click_after_a_failure_saves(self):
        """The first request rolls back, so the second one is the first that saves."""
        data = {**NO_CONTACTS, "name": "", "form_key": "key"}
        slow = self.make_slow(SentForm.save)
        with mock.patch.object(SentForm, "save", slow):
            first = Thread(target=self.send, args=[0, f"{ORGANIZATIONS}add/", data])
            first.start()
            self.has_saved.wait(5)
            self.send(1, f"{ORGANIZATIONS}add/", {**data, "name": "New"})
            first.join()
        self.assertEqual(
            [response.status_code for response in self.responses], [200, 302]
        )
        self.assertEqual(Organization.objects.filter(name="New").count(), 1)

    def test_a_person_is_invited_once(self):
        acme = create_organization("Acme")
        url = f"{ORGANIZATIONS}{acme.pk}/people/"
        data = {
            "add": "1",
            "add-who": "new@example.com",
            "add-role": "reviewer",
            "form_key": "key",
        }
        slow = self.make_slow(invitations.write_changes)
        with mock.patch.object(invitations, "write_changes", slow):
            self.send_twice(url, data)
        self.assertEqual(len(mail.outbox), 1)
        self.assertEqual(Invitation.objects.count(), 1)
