"""Adding a person with their first roles, and giving roles on the person's page."""

import datetime

from django.core import mail
from django.test import TestCase
from django.utils import timezone

from orgadmin.models import Membership, MembershipEvent, User
from tests.factories import (
    ADMIN,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
)

ADD = "/admin/orgadmin/user/add/"
NO_ROWS = {"roles-TOTAL_FORMS": "3", "roles-INITIAL_FORMS": "0"}


class AddPersonTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser(email="root@example.com")
        cls.acme = create_organization("Acme")
        cls.beta = create_organization("Beta")
        cls.ada = create_user("ada", first_name="Ada", email="ada@example.com")

    def setUp(self):
        self.client.force_login(self.root)

    def add(self, **values):
        data = {"email": "nora@example.com", **NO_ROWS}
        for name, value in values.items():
            data[name.replace("__", "-")] = value
        with self.captureOnCommitCallbacks(execute=True):
            return self.client.post(ADD, data, follow=True)

    def test_an_address_is_enough(self):
        response = self.add(first_name="Nora", last_name="Ng", language="de")
        nora = User.objects.get(email="nora@example.com")
        self.assertRedirects(response, f"/admin/orgadmin/user/{nora.pk}/overview/")
        self.assertEqual(nora.username, "nora@example.com")
        self.assertEqual(nora.language, "de")
        self.assertFalse(nora.has_usable_password())
        self.assertEqual([message.to for message in mail.outbox], [[nora.email]])

    def test_gives_roles_with_ends_through_the_membership_log(self):
        day = timezone.localdate() + datetime.timedelta(days=30)
        self.add(
            roles__0__organization=self.acme.pk,
            roles__0__role="admin",
            roles__1__organization=self.beta.pk,
            roles__1__role="reviewer",
            roles__1__ends_on=day.isoformat(),
        )
        nora = User.objects.get(email="nora@example.com")
        self.assertEqual(self.acme.admin.user_set.get(), nora)
        row = Membership.objects.get(user=nora, group=self.beta.reviewer_id)
        self.assertIsNotNone(row.ends_at)
        events = MembershipEvent.objects.filter(user_key=nora.pk)
        self.assertEqual({event.actor_key for event in events}, {self.root.pk})
        self.assertEqual({event.role for event in events}, {ADMIN.key, REVIEWER.key})

    def test_shows_one_row_until_more_are_used(self):
        page = self.client.get(ADD)
        first, more = page.text.split("More roles")
        self.assertIn('id="id_roles-0-organization"', first)
        self.assertNotIn('id="id_roles-1-organization"', first)
        self.assertIn('id="id_roles-2-organization"', more)
        self.assertRegex(first, r"<details>\s*<summary>$")
        # The page is shown again because the address is missing.
        page = self.add(email="", roles__0__organization=self.acme.pk)
        self.assertRegex(page.text, r"<details>\s*<summary>More roles")
        page = self.add(email="", roles__1__organization=self.acme.pk)
        self.assertRegex(page.text, r"<details open>\s*<summary>More roles")

    def test_a_form_without_rows_is_shown_again(self):
        page = self.client.post(ADD, {"email": "no address"})
        self.assertContains(page, "Enter a valid email address.")
        self.assertNotContains(page, "More roles")

    def test_bad_rows_have_an_error_and_save_nothing(self):
        wrong = [
            (
                {"roles__0__organization": 999, "roles__0__role": "admin"},
                "no longer exists",
            ),
            (
                {
                    "roles__0__organization": self.acme.pk,
                    "roles__0__role": "admin",
                    "roles__1__organization": self.acme.pk,
                    "roles__1__role": "reviewer",
                },
                "one role in each organization",
            ),
            (
                {
                    "roles__0__organization": self.acme.pk,
                    "roles__0__role": "admin",
                    "roles__0__ends_on": "2020-01-01",
                },
                "errorlist",
            ),
            ({"roles__2__ends_on": "2099-01-01"}, "required"),
        ]
        for values, text in wrong:
            with self.subTest(text=text):
                response = self.add(**values)
                self.assertContains(response, text)
                self.assertFalse(User.objects.filter(email="nora@example.com").exists())

    def test_an_address_that_is_taken_leads_to_its_person(self):
        response = self.add(email="ADA@example.com")
        self.assertContains(response, "This person already has an account:")
        self.assertContains(response, f"/admin/orgadmin/user/{self.ada.pk}/overview/")

    def test_only_those_who_view_people_get_that_link(self):
        manager = create_user("manager", is_staff=True, permissions=["add_user"])
        self.client.force_login(manager)
        response = self.add(email="ada@example.com")
        if response.status_code == 200:
            self.assertNotContains(response, "already has an account:")
            self.assertNotContains(response, f"user/{self.ada.pk}/")

    def test_needs_an_address_or_a_username_with_a_password(self):
        self.assertContains(self.add(email=""), "Enter the email address")
        response = self.add(email="", username="bot")
        self.assertFalse(User.objects.filter(username="bot").exists())
        self.assertContains(response, "This field is required.")
        good = "plum kettle violin 7"
        self.add(email="", username="bot", password1=good, password2=good)
        self.assertTrue(User.objects.get(username="bot").check_password(good))

    def test_user_managers_give_no_roles(self):
        manager = create_user(
            "manager",
            is_staff=True,
            permissions=["view_user", "add_user", "change_user"],
        )
        self.client.force_login(manager)
        page = self.client.get(ADD)
        self.assertNotContains(page, "roles-0-organization")
        self.add(roles__0__organization=self.acme.pk, roles__0__role="admin")
        nora = User.objects.get(email="nora@example.com")
        self.assertFalse(nora.groups.exists())


class GiveRoleTests(TestCase):
    """The form on the Organizations page of a person."""

    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()
        cls.acme = create_organization("Acme")
        cls.nora = create_user("nora", first_name="Nora")
        cls.url = f"/admin/orgadmin/user/{cls.nora.pk}/organizations/"

    def setUp(self):
        self.client.force_login(self.root)

    def give(self, **values):
        data = {"give-organization": self.acme.pk, "give-role": "reviewer"}
        data |= {"give_role": "1"}
        data |= {f"give-{name}": value for name, value in values.items()}
        return self.client.post(self.url, data, follow=True)

    def test_gives_the_role_once(self):
        response = self.give()
        self.assertContains(response, "“Nora” is now Reviewer of “Acme”.")
        self.assertEqual(self.acme.reviewer.user_set.get(), self.nora)
        self.assertContains(self.give(), "No changes")
        events = MembershipEvent.objects.filter(user_key=self.nora.pk)
        self.assertEqual(events.count(), 1)

    def test_sets_the_end(self):
        day = timezone.localdate() + datetime.timedelta(days=30)
        self.assertContains(self.give(ends_on=day.isoformat()), "Access ends on")
        row = Membership.objects.get(user=self.nora)
        self.assertIsNotNone(row.ends_at)

    def test_a_wrong_choice_has_an_error_and_changes_nothing(self):
        for values in ({"organization": "999"}, {"ends_on": "2020-01-01"}):
            with self.subTest(values=values):
                response = self.give(**values)
                self.assertContains(response, "errorlist")
                self.assertFalse(self.nora.groups.exists())

    def test_only_superusers_give_roles_there(self):
        staff = create_user(
            "staff",
            is_staff=True,
            permissions=["view_user", "change_user", "view_organization"],
        )
        self.client.force_login(staff)
        self.give()
        self.assertFalse(self.nora.groups.exists())
