"""Contacts, the example of a model that follows the permissions on its organization."""

from django.contrib.admin.models import LogEntry
from django.test import TestCase, tag

from orgadmin.models import Contact

from .factories import (
    create_organization,
    create_superuser,
    create_user,
)

LIST = "/admin/orgadmin/contact/"
ORGANIZATIONS = "/admin/orgadmin/organization/"


class ContactTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.own = create_organization("Own")
        cls.second = create_organization("Second")
        cls.reviewed = create_organization("Reviewed")
        cls.foreign = create_organization("Canary Ltd")
        cls.mine = cls.own.contacts.create(name="Mine", email="mine@example.com")
        cls.read = cls.reviewed.contacts.create(name="Read", email="read@example.com")
        cls.hidden = cls.foreign.contacts.create(
            name="Canary", email="canary@example.com"
        )
        cls.user = create_user(
            admin_of=[cls.own, cls.second], reviewer_of=[cls.reviewed]
        )

    def setUp(self):
        self.client.force_login(self.user)

    def change(self, contact, **values):
        data = {
            "name": contact.name,
            "organization": contact.organization_id,
            **values,
        }
        return self.client.post(f"{LIST}{contact.pk}/change/", data)

    def change_organization(self, organization, data, **options):
        """Post the page of an organization, which has its contacts below."""
        url = f"{ORGANIZATIONS}{organization.pk}/change/"
        return self.client.post(url, {"name": organization.name, **data}, **options)

    def list_names(self, organization):
        return set(organization.contacts.values_list("name", flat=True))

    def test_are_listed_and_found_with_their_organization_only(self):
        response = self.client.get(LIST)
        self.assertEqual(list(response.context["cl"].queryset), [self.mine, self.read])
        self.assertNotContains(response, "Canary")
        response = self.client.get(LIST, {"q": "canary"})
        self.assertEqual(list(response.context["cl"].queryset), [])

    def test_can_be_changed_by_people_who_can_change_the_organization(self):
        self.assertRedirects(self.change(self.mine, phone="1"), LIST)
        self.assertEqual(self.change(self.read, phone="1").status_code, 403)
        self.assertRedirects(self.change(self.hidden, phone="1"), "/admin/")
        self.assertEqual(list(Contact.objects.filter(phone="1")), [self.mine])

    @tag("A21", "A22")
    def test_move_only_between_organizations_that_the_person_can_change(self):
        self.assertRedirects(self.change(self.mine, organization=self.second.pk), LIST)
        for organization in (self.reviewed.pk, self.foreign.pk, 999_999):
            with self.subTest(organization=organization):
                response = self.change(self.mine, organization=organization)
                self.assertContains(
                    response, "That choice is not one of the available choices."
                )
                self.assertNotContains(response, "Canary")
        self.mine.refresh_from_db()
        self.assertEqual(self.mine.organization, self.second)

    @tag("A20")
    def test_are_added_to_organizations_that_the_person_can_change(self):
        for organization in (self.own, self.reviewed, self.foreign):
            self.client.post(
                f"{LIST}add/", {"name": "New", "organization": organization.pk}
            )
        added = Contact.objects.get(name="New")
        self.assertEqual(added.organization, self.own)
        response = self.client.get(f"{LIST}add/?organization={self.foreign.pk}")
        self.assertNotContains(response, "Canary")

    @tag("A17")
    def test_can_be_deleted_by_people_who_can_change_the_organization(self):
        data = {
            "action": "delete_selected",
            "_selected_action": [self.mine.pk, self.read.pk, self.hidden.pk],
        }
        self.assertNotContains(self.client.post(LIST, data), "Read")
        self.client.post(LIST, {**data, "post": "yes"})
        self.client.post(LIST, {**data, "post": "yes", "select_across": "1"})
        self.assertEqual(set(Contact.objects.all()), {self.read, self.hidden})
        response = self.client.post(f"{LIST}{self.read.pk}/delete/", {"post": "yes"})
        self.assertEqual(response.status_code, 403)
        response = self.client.post(f"{LIST}{self.hidden.pk}/delete/", {"post": "yes"})
        self.assertRedirects(response, "/admin/")

    @tag("A24")
    def test_choices_are_organizations_that_the_person_can_change(self):
        query = {
            "app_label": "orgadmin",
            "model_name": "contact",
            "field_name": "organization",
            "term": "",
        }
        results = self.client.get("/admin/autocomplete/", query).json()["results"]
        self.assertEqual([result["text"] for result in results], ["Own", "Second"])

    @tag("A22")
    def test_the_form_lists_no_organizations(self):
        response = self.client.get(f"{LIST}{self.mine.pk}/change/")
        self.assertNotContains(response, "Second")

    def test_are_edited_on_the_page_of_the_organization(self):
        data = {
            "contacts-TOTAL_FORMS": "2",
            "contacts-INITIAL_FORMS": "1",
            "contacts-0-id": self.mine.pk,
            "contacts-0-organization": self.own.pk,
            "contacts-0-name": "Renamed",
            "contacts-1-organization": self.foreign.pk,
            "contacts-1-name": "New",
        }
        response = self.change_organization(self.own, data)
        self.assertContains(response, "Nothing was saved. Correct the error below")
        self.assertEqual(self.list_names(self.own), {"Mine"})
        data["contacts-1-organization"] = self.own.pk
        self.change_organization(self.own, data)
        self.assertEqual(self.list_names(self.own), {"Renamed", "New"})
        self.assertFalse(self.foreign.contacts.filter(name="New").exists())

    def test_have_a_page_below_the_organization(self):
        url = f"{ORGANIZATIONS}{self.own.pk}/contacts/"
        response = self.client.get(url)
        self.assertContains(response, "mine@example.com")
        self.assertContains(response, f"{LIST}add/?organization={self.own.pk}")
        url = f"{ORGANIZATIONS}{self.reviewed.pk}/contacts/"
        response = self.client.get(url)
        self.assertContains(response, "read@example.com")
        self.assertNotContains(response, "add/?organization=")
        self.assertNotContains(response, "/delete/")
        response = self.client.get(f"{ORGANIZATIONS}{self.foreign.pk}/contacts/")
        self.assertRedirects(response, "/admin/")

    def test_lead_back_to_the_page_that_they_were_opened_from(self):
        contacts = f"{ORGANIZATIONS}{self.own.pk}/contacts/"
        back = f"?organization={self.own.pk}"
        data = {"name": "New", "organization": self.own.pk}
        response = self.client.post(f"{LIST}add/{back}", data)
        self.assertRedirects(response, contacts)
        new = self.own.contacts.get(name="New")
        response = self.client.post(f"{LIST}{new.pk}/change/{back}", data)
        self.assertRedirects(response, contacts)
        response = self.client.post(f"{LIST}{new.pk}/delete/{back}", {"post": "yes"})
        self.assertRedirects(response, contacts)
        self.assertFalse(self.own.contacts.filter(name="New").exists())

    @tag("A20")
    def test_have_a_trail_to_the_organization_that_they_were_opened_from(self):
        contacts = f'<a href="{ORGANIZATIONS}{self.own.pk}/contacts/">Contacts</a>'
        pages = [f"{LIST}{self.mine.pk}/{page}/" for page in ("change", "delete")]
        for page in (f"{LIST}add/", *pages):
            with self.subTest(page=page):
                own = self.client.get(page, {"organization": self.own.pk})
                self.assertContains(own, contacts, html=True)
                for key in (self.foreign.pk, 999_999, "x", "9" * 30):
                    other = self.client.get(page, {"organization": key})
                    self.assertNotContains(other, "/contacts/")
                    self.assertNotContains(other, "Canary")

    def test_another_one_is_added_to_the_same_organization(self):
        add = f"{LIST}add/?organization={self.own.pk}"
        change = f"{LIST}{self.mine.pk}/change/"
        data = {"name": "New", "organization": self.own.pk, "_addanother": "1"}
        for url in (add, change, f"{change}?organization={self.own.pk}"):
            with self.subTest(url=url):
                response = self.client.post(url, data)
                self.assertRedirects(response, add)
        page = self.client.get(add)
        chosen = page.context["adminform"].form["organization"].value()
        self.assertEqual(chosen, str(self.own.pk))

    def test_editing_on_still_leads_back_to_the_page_of_the_organization(self):
        url = f"{LIST}{self.mine.pk}/change/?organization={self.own.pk}"
        data = {"name": "New", "organization": self.own.pk}
        response = self.client.post(url, {**data, "_continue": "1"})
        self.assertRedirects(response, url)
        response = self.client.post(response.url, data)
        self.assertRedirects(response, f"{ORGANIZATIONS}{self.own.pk}/contacts/")

    @tag("A20")
    def test_the_organization_of_the_next_one_is_not_named_unless_it_is_a_choice(self):
        url = f"{LIST}{self.mine.pk}/change/?organization={self.foreign.pk}"
        data = {"name": "New", "organization": self.own.pk, "_addanother": "1"}
        response = self.client.post(url, data, follow=True)
        self.assertNotContains(response, "Canary")

    def test_stay_if_a_post_does_not_mention_them(self):
        response = self.change_organization(self.own, {"name": "New"})
        self.assertRedirects(response, f"{ORGANIZATIONS}{self.own.pk}/overview/")
        self.assertEqual(list(self.own.contacts.all()), [self.mine])

    @tag("A31")
    def test_of_another_organization_cannot_be_changed_on_the_own_page(self):
        data = {
            "contacts-TOTAL_FORMS": "1",
            "contacts-INITIAL_FORMS": "1",
            "contacts-0-id": self.hidden.pk,
            "contacts-0-organization": self.own.pk,
            "contacts-0-name": "Taken over",
            "contacts-0-DELETE": "on",
        }
        for _ in range(2):
            response = self.change_organization(self.own, data, follow=True)
            self.assertNotContains(response, "Canary")
            data.pop("contacts-0-DELETE", None)
        self.hidden.refresh_from_db()
        self.assertEqual(self.hidden.name, "Canary")
        self.assertEqual(self.hidden.organization, self.foreign)

    def test_a_reviewer_reads_them_on_the_page_of_the_organization(self):
        response = self.client.get(f"{ORGANIZATIONS}{self.reviewed.pk}/change/")
        self.assertContains(response, "read@example.com")
        self.assertNotContains(response, 'name="contacts-0-name"')
        response = self.change_organization(
            self.reviewed,
            {
                "contacts-TOTAL_FORMS": "1",
                "contacts-INITIAL_FORMS": "0",
                "contacts-0-name": "New",
            },
        )
        self.assertEqual(response.status_code, 403)

    def test_a_reviewer_is_not_offered_to_add_any(self):
        self.client.force_login(create_user("reviewer", reviewer_of=[self.reviewed]))
        self.assertNotContains(self.client.get("/admin/"), f"{LIST}add/")
        self.assertEqual(self.client.get(f"{LIST}add/").status_code, 403)

    def test_their_changes_are_in_the_history_of_the_organization(self):
        self.client.force_login(create_superuser())
        data = {
            "contacts-TOTAL_FORMS": "1",
            "contacts-INITIAL_FORMS": "1",
            "contacts-0-id": self.read.pk,
            "contacts-0-organization": self.reviewed.pk,
            "contacts-0-name": "Read",
            "contacts-0-phone": "1",
        }
        self.change_organization(self.reviewed, data)
        self.client.force_login(self.user)
        response = self.client.get(f"{ORGANIZATIONS}{self.reviewed.pk}/history/")
        self.assertContains(response, "Changed Email and Phone for contact “Read”.")

    def test_a_history_names_members_only(self):
        self.change(self.mine, organization=self.second.pk)
        other = create_user("other", admin_of=[self.second])
        self.client.force_login(other)
        self.assertContains(self.client.get(f"{LIST}{self.mine.pk}/history/"), "anna")
        self.user.groups.clear()
        response = self.client.get(f"{LIST}{self.mine.pk}/history/")
        self.assertNotContains(response, "anna")
        self.assertContains(response, "An admin of this organization")

    @tag("A27")
    def test_a_history_shows_reviewers_that_something_changed_but_not_what(self):
        for message in ([{"changed": {"fields": ["Tax ID"]}}], "By hand: Tax ID", [1]):
            LogEntry.objects.log_actions(self.user.pk, [self.read], 2, message)
        response = self.client.get(f"{LIST}{self.read.pk}/history/")
        self.assertEqual(len(response.context["action_list"]), 3)
        self.assertNotContains(response, "Tax ID")

    def test_cannot_be_added_by_people_who_can_only_add_organizations(self):
        clerk = create_user(
            "clerk",
            is_staff=True,
            permissions=["view_organization", "add_organization"],
            admin_of=[self.own],
        )
        self.client.force_login(clerk)
        data = {
            "name": "New",
            "contacts-TOTAL_FORMS": "1",
            "contacts-INITIAL_FORMS": "0",
            "contacts-0-name": "Made",
        }
        self.client.post(f"{ORGANIZATIONS}add/", data)
        self.assertFalse(Contact.objects.filter(name="Made").exists())

    def test_are_deleted_with_the_organization(self):
        self.client.force_login(create_superuser())
        self.assertContains(
            self.client.get(f"{ORGANIZATIONS}{self.own.pk}/delete/"),
            "Its people, contacts and history are kept.",
        )
        self.own.delete()
        self.assertFalse(Contact.objects.filter(pk=self.mine.pk).exists())

    def test_saving_the_page_of_the_organization_takes_the_same_queries_for_many(self):
        Contact.objects.bulk_create(
            Contact(organization=self.own, name=f"Many {number}")
            for number in range(20)
        )
        contacts = list(self.own.contacts.all())
        data = {
            "contacts-TOTAL_FORMS": len(contacts),
            "contacts-INITIAL_FORMS": len(contacts),
        }
        for number, contact in enumerate(contacts):
            data |= {
                f"contacts-{number}-id": contact.pk,
                f"contacts-{number}-organization": self.own.pk,
                f"contacts-{number}-name": contact.name,
                f"contacts-{number}-email": contact.email,
            }
        # Session, user, permissions, savepoint, row, permissions again, contacts, log
        # and release. Then the message: savepoint, session and release.
        with self.assertNumQueries(12):
            self.change_organization(self.own, data)

    @tag("A31")
    def test_an_invalid_id_is_refused_like_that_of_a_foreign_one(self):
        data = {
            "contacts-TOTAL_FORMS": "1",
            "contacts-INITIAL_FORMS": "1",
            "contacts-0-organization": self.own.pk,
            "contacts-0-name": "New",
        }
        for key in (self.hidden.pk, 999_999, "x", "9" * 30, "\0"):
            with self.subTest(key=key):
                response = self.change_organization(
                    self.own, data | {"contacts-0-id": key}
                )
                self.assertContains(
                    response, "A row was deleted while you were editing."
                )
                self.assertNotContains(response, "Canary")

    def test_the_list_takes_the_same_queries_for_many(self):
        self.client.get(LIST)
        # Session, user, any organization, rows, and where the person may delete them.
        with self.assertNumQueries(5):
            self.client.get(LIST)
        Contact.objects.bulk_create(
            Contact(organization=self.own, name=f"Many {number}")
            for number in range(50)
        )
        with self.assertNumQueries(5):
            self.client.get(LIST)
