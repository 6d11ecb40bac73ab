"""Contacts: the worked example of a model that belongs to an organization and has no rule of its own."""

from django.contrib.admin.models import LogEntry
from django.test import TestCase, tag

from orgadmin.models import Contact

from .factories import NO_CONTACTS, create_organization, create_superuser, create_user

LIST = "/admin/orgadmin/contact/"
ORGANIZATIONS = "/admin/orgadmin/organization/"


class ContactTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.own, cls.second, cls.reviewed, cls.foreign = (
            create_organization(name)
            for name in ("Own", "Second", "Reviewed", "Canary Ltd")
        )
        cls.mine, cls.read, cls.hidden = (
            Contact.objects.create(
                organization=organization,
                name=name,
                email=f"{name.lower()}@example.com",
            )
            for organization, name in (
                (cls.own, "Mine"),
                (cls.reviewed, "Read"),
                (cls.foreign, "Canary"),
            )
        )
        cls.user = create_user(
            admin_of=[cls.own, cls.second], reviewer_of=[cls.reviewed]
        )

    def setUp(self):
        self.client.force_login(self.user)

    def change(self, contact, **values):
        values = {
            "name": contact.name,
            "organization": contact.organization_id,
            **values,
        }
        return self.client.post(f"{LIST}{contact.pk}/change/", values)

    def test_are_listed_and_found_with_their_organization_only(self):
        response = self.client.get(LIST)
        self.assertEqual(list(response.context["cl"].queryset), [self.mine, self.read])
        self.assertNotContains(response, "Canary")
        self.assertEqual(
            list(self.client.get(LIST, {"q": "canary"}).context["cl"].queryset), []
        )

    def test_are_changed_by_whoever_may_change_the_organization(self):
        self.assertRedirects(self.change(self.mine, phone="1"), LIST)
        self.assertEqual(self.change(self.read, phone="1").status_code, 403)
        self.assertRedirects(self.change(self.hidden, phone="1"), "/admin/")
        self.assertEqual(list(Contact.objects.filter(phone="1")), [self.mine])

    @tag("A21", "A22")
    def test_move_only_between_organizations_that_the_editor_may_change(self):
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
    def test_are_added_to_organizations_that_the_editor_may_change(self):
        for organization, count in (
            (self.own, 1),
            (self.reviewed, 0),
            (self.foreign, 0),
        ):
            self.client.post(
                f"{LIST}add/", {"name": "New", "organization": organization.pk}
            )
            self.assertEqual(organization.contacts.filter(name="New").count(), count)
        self.assertNotContains(
            self.client.get(f"{LIST}add/?organization={self.foreign.pk}"), "Canary"
        )

    @tag("A17")
    def test_are_deleted_by_whoever_may_change_the_organization(self):
        data = {
            "action": "delete_selected",
            "_selected_action": [self.mine.pk, self.read.pk, self.hidden.pk],
        }
        self.assertNotContains(self.client.post(LIST, data), "Read")
        self.client.post(LIST, {**data, "post": "yes"})
        self.client.post(LIST, {**data, "post": "yes", "select_across": "1"})
        self.assertEqual(set(Contact.objects.all()), {self.read, self.hidden})
        self.assertEqual(
            self.client.post(
                f"{LIST}{self.read.pk}/delete/", {"post": "yes"}
            ).status_code,
            403,
        )
        self.assertRedirects(
            self.client.post(f"{LIST}{self.hidden.pk}/delete/", {"post": "yes"}),
            "/admin/",
        )

    @tag("A24")
    def test_choices_are_searched_among_organizations_that_the_editor_may_change(self):
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
        self.assertNotContains(
            self.client.get(f"{LIST}{self.mine.pk}/change/"), "Second"
        )

    def test_are_edited_in_the_page_of_the_organization(self):
        data = {
            "name": "Own",
            "contacts-TOTAL_FORMS": "2",
            "contacts-INITIAL_FORMS": "1",
            "contacts-0-id": self.mine.pk,
            "contacts-0-organization": self.own.pk,
            "contacts-0-name": "Renamed",
            "contacts-1-organization": self.foreign.pk,
            "contacts-1-name": "New",
        }
        response = self.client.post(f"{ORGANIZATIONS}{self.own.pk}/change/", data)
        self.assertContains(response, "Please correct the error below.")
        self.assertEqual(
            set(self.own.contacts.values_list("name", flat=True)), {"Mine"}
        )
        data["contacts-1-organization"] = self.own.pk
        self.client.post(f"{ORGANIZATIONS}{self.own.pk}/change/", data)
        self.assertEqual(
            set(self.own.contacts.values_list("name", flat=True)), {"Renamed", "New"}
        )
        self.assertFalse(self.foreign.contacts.filter(name="New").exists())

    def test_are_left_alone_by_a_post_that_says_nothing_about_them(self):
        response = self.client.post(
            f"{ORGANIZATIONS}{self.own.pk}/change/", {"name": "New"}
        )
        self.assertRedirects(response, ORGANIZATIONS)
        self.assertEqual(list(self.own.contacts.all()), [self.mine])

    @tag("A31")
    def test_of_another_organization_are_not_reached_through_the_own_page(self):
        data = {
            "name": "Own",
            "contacts-TOTAL_FORMS": "1",
            "contacts-INITIAL_FORMS": "1",
            "contacts-0-id": self.hidden.pk,
            "contacts-0-organization": self.own.pk,
            "contacts-0-name": "Taken over",
            "contacts-0-DELETE": "on",
        }
        for _ in range(2):
            response = self.client.post(
                f"{ORGANIZATIONS}{self.own.pk}/change/", data, follow=True
            )
            self.assertNotContains(response, "Canary")
            data.pop("contacts-0-DELETE", None)
        self.hidden.refresh_from_db()
        self.assertEqual(
            (self.hidden.name, self.hidden.organization), ("Canary", self.foreign)
        )

    def test_a_reviewer_reads_them_in_the_page_of_the_organization(self):
        response = self.client.get(f"{ORGANIZATIONS}{self.reviewed.pk}/change/")
        self.assertContains(response, "read@example.com")
        self.assertNotContains(response, 'name="contacts-0-name"')
        data = NO_CONTACTS | {
            "name": "Reviewed",
            "contacts-TOTAL_FORMS": "1",
            "contacts-0-name": "New",
        }
        self.assertEqual(
            self.client.post(
                f"{ORGANIZATIONS}{self.reviewed.pk}/change/", data
            ).status_code,
            403,
        )

    def test_a_pure_reviewer_is_offered_nothing_to_add(self):
        self.client.force_login(create_user("reviewer", reviewer_of=[self.reviewed]))
        self.assertNotContains(self.client.get("/admin/"), f"{LIST}add/")
        self.assertEqual(self.client.get(f"{LIST}add/").status_code, 403)

    def test_their_changes_are_told_in_the_history_of_the_organization(self):
        self.client.force_login(create_superuser())
        data = {
            "name": "Reviewed",
            "contacts-TOTAL_FORMS": "1",
            "contacts-INITIAL_FORMS": "1",
            "contacts-0-id": self.read.pk,
            "contacts-0-organization": self.reviewed.pk,
            "contacts-0-name": "Read",
            "contacts-0-phone": "1",
        }
        self.client.post(f"{ORGANIZATIONS}{self.reviewed.pk}/change/", data)
        self.client.force_login(self.user)
        response = self.client.get(f"{ORGANIZATIONS}{self.reviewed.pk}/history/")
        self.assertContains(response, "Changed Email and Phone for contact “Read”.")

    def test_a_history_names_members_only(self):
        self.client.post(
            f"{LIST}{self.mine.pk}/change/",
            {"name": "Mine", "organization": self.second.pk},
        )
        other = create_user("other", admin_of=[self.second])
        self.client.force_login(other)
        self.assertContains(self.client.get(f"{LIST}{self.mine.pk}/history/"), "anna")
        self.user.groups.clear()
        response = self.client.get(f"{LIST}{self.mine.pk}/history/")
        self.assertNotContains(response, "anna")
        self.assertContains(response, "one of its admins")

    @tag("A27")
    def test_a_history_tells_reviewers_that_something_changed_and_not_what_was_written_of_it(
        self,
    ):
        for message in ([{"changed": {"fields": ["Tax ID"]}}], "By hand: Tax ID", [1]):
            LogEntry.objects.log_actions(self.user.pk, [self.read], 2, message)
        response = self.client.get(f"{LIST}{self.read.pk}/history/")
        self.assertEqual(len(response.context["action_list"]), 3)
        self.assertNotContains(response, "Tax ID")

    def test_whoever_may_add_an_organization_and_not_change_it_adds_no_contacts(self):
        permissions = ["view_organization", "add_organization"]
        self.client.force_login(
            create_user(
                "clerk", is_staff=True, permissions=permissions, admin_of=[self.own]
            )
        )
        data = NO_CONTACTS | {
            "name": "New",
            "contacts-TOTAL_FORMS": "1",
            "contacts-0-name": "Made",
        }
        self.client.post(f"{ORGANIZATIONS}add/", data)
        self.assertFalse(Contact.objects.filter(name="Made").exists())

    def test_go_with_the_organization(self):
        self.client.force_login(create_superuser())
        self.assertContains(
            self.client.get(f"{ORGANIZATIONS}{self.own.pk}/delete/"), "Contacts: 1"
        )
        self.own.delete()
        self.assertFalse(Contact.objects.filter(pk=self.mine.pk).exists())

    def test_saving_the_page_of_the_organization_costs_the_same_for_many(self):
        Contact.objects.bulk_create(
            Contact(organization=self.own, name=f"Many {number}")
            for number in range(20)
        )
        contacts = list(self.own.contacts.all())
        data = {
            "name": "Own",
            "contacts-TOTAL_FORMS": len(contacts),
            "contacts-INITIAL_FORMS": len(contacts),
        }
        for number, contact in enumerate(contacts):
            fields = {
                "id": contact.pk,
                "organization": self.own.pk,
                "name": contact.name,
                "email": contact.email,
            }
            data |= {
                f"contacts-{number}-{name}": value for name, value in fields.items()
            }
        with self.assertNumQueries(
            9
        ):  # session, user, rights, savepoint, row, rights again, contacts, log, release
            self.client.post(f"{ORGANIZATIONS}{self.own.pk}/change/", data)

    @tag("A31")
    def test_an_id_that_is_none_is_refused_like_that_of_a_foreign_one(self):
        data = {
            "name": "Own",
            "contacts-TOTAL_FORMS": "1",
            "contacts-INITIAL_FORMS": "1",
            "contacts-0-name": "New",
        }
        data["contacts-0-organization"] = self.own.pk
        for key in (self.hidden.pk, 999_999, "x", "9" * 30, "\0"):
            with self.subTest(key=key):
                response = self.client.post(
                    f"{ORGANIZATIONS}{self.own.pk}/change/",
                    data | {"contacts-0-id": key},
                )
                self.assertContains(
                    response, "A row was deleted while you were editing."
                )
                self.assertNotContains(response, "Canary")

    def test_the_list_costs_the_same_for_many(self):
        self.client.get(LIST)
        with self.assertNumQueries(4):
            self.client.get(LIST)
        Contact.objects.bulk_create(
            Contact(organization=self.own, name=f"Many {number}")
            for number in range(50)
        )
        with self.assertNumQueries(4):
            self.client.get(LIST)
