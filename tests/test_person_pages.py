"""The pages about one person: what they show to which people, and ask first."""

from datetime import timedelta

from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group, Permission
from django.test import Client, TestCase, tag
from django.utils import timezone

from orgadmin.models import Invitation, User

from .factories import create_organization, create_superuser, create_user

PEOPLE = "/admin/orgadmin/user/"
TABS = ("overview", "organizations", "access", "activity")


class PersonCase(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()
        cls.acme = create_organization("Acme")
        cls.anna = create_user(
            "anna",
            first_name="Anna",
            last_name="Ångström",
            email="anna@example.com",
            admin_of=[cls.acme],
            last_login=timezone.now(),
        )
        cls.manager = create_user(
            "manager",
            is_staff=True,
            permissions=["view_user", "add_user", "change_user"],
        )

    def setUp(self):
        self.client.force_login(self.root)
        self.url = f"{PEOPLE}{self.anna.pk}/"

    def add_factor(self, user, **data):
        return Authenticator.objects.create(user=user, type="webauthn", data=data)


class TabsTests(PersonCase):
    def test_superusers_get_all_tabs_on_all_pages_of_a_person(self):
        for page in (*TABS, "change", "history"):
            response = self.client.get(f"{self.url}{page}/")
            for tab in TABS:
                self.assertContains(response, f'href="{self.url}{tab}/"')
            self.assertContains(response, "Anna Ångström</bdi></h1>")
            self.assertContains(response, 'aria-current="page"', count=1)

    def test_the_overview_says_which_roles_a_person_has(self):
        page = self.client.get(f"{self.url}overview/")
        self.assertContains(page, "Admin of 1")
        self.assertContains(page, "Show organizations")
        nobody = create_user("nobody")
        page = self.client.get(f"{PEOPLE}{nobody.pk}/overview/")
        self.assertNotContains(page, "Admin of")
        self.assertContains(page, "Give a role")

    @tag("C1")
    def test_user_managers_get_the_overview_with_what_they_also_see_in_the_form(self):
        self.add_factor(self.anna)
        self.client.force_login(self.manager)
        response = self.client.get(f"{self.url}overview/")
        for text in ("Anna Ångström", "anna@example.com", "Not confirmed", "Active"):
            self.assertContains(response, text)
        for text in (
            "Last sign-in",
            "Second factor",
            "Acme",
            "Platform staff",
            "Admin of",
        ):
            self.assertNotContains(response, text)
        # Anna may do more than they, so they cannot edit her.
        self.assertNotContains(response, f"{self.url}change/")
        for tab in TABS[1:]:
            self.assertNotContains(response, f"{self.url}{tab}/")
        plain = create_user("plain")
        response = self.client.get(f"{PEOPLE}{plain.pk}/overview/")
        self.assertContains(response, f"{PEOPLE}{plain.pk}/change/")
        for action in ("leave", "erase", "export", "delete", "sign_out"):
            self.assertNotContains(response, f"{PEOPLE}{plain.pk}/{action}/")

    def test_nobody_is_offered_to_end_their_own_access(self):
        response = self.client.get(f"{PEOPLE}{self.root.pk}/overview/")
        for action in ("leave", "erase", "sign_out"):
            self.assertNotContains(response, f"{PEOPLE}{self.root.pk}/{action}/")

    def test_old_addresses_answer(self):
        for page in ("access", "company", "leave", "change"):
            self.assertEqual(self.client.get(f"{self.url}{page}/").status_code, 200)


class NameTests(PersonCase):
    def test_the_list_and_the_trail_call_users_people(self):
        response = self.client.get("/admin/orgadmin/user/")
        self.assertContains(response, "<h1>People</h1>")
        self.assertNotContains(response, "Users")
        person = User.objects.first()
        page = self.client.get(f"/admin/orgadmin/user/{person.pk}/overview/")
        self.assertContains(page, '<a href="/admin/orgadmin/user/">People</a>')


class ButtonTests(PersonCase):
    def test_the_primary_button_of_a_list_is_the_last_one(self):
        for model, name in (("user", "Add person"), ("organization", "Add org")):
            page = self.client.get(f"/admin/orgadmin/{model}/").content.decode()
            head = page[page.index('class="object-tools') :]
            buttons = head[: head.index('id="changelist"')]
            last = buttons[buttons.rindex("<li>") :]
            self.assertIn(name, last)


class AccessTabTests(PersonCase):
    def test_shows_how_a_person_signs_in_and_where(self):
        self.add_factor(self.anna, name="Blue key")
        Client(headers={"User-Agent": "Firefox/140 Linux"}).login(
            username="anna", password="secret"
        )
        self.anna.groups.add(Group.objects.create(name="Friends"))
        permission = Permission.objects.get(codename="view_contact")
        self.anna.user_permissions.add(permission)
        response = self.client.get(f"{self.url}access/")
        for text in ("has a password", "Blue key", "Friends", "Can view contact"):
            self.assertContains(response, text)
        self.assertEqual(len(response.context["sessions"].listed), 1)

    @tag("D27")
    def test_removes_second_factors_after_a_question(self):
        self.add_factor(self.anna)
        epoch = User.objects.get(pk=self.anna.pk).session_epoch
        page = self.client.get(f"{self.url}second_factor/")
        self.assertContains(page, "Remove second factor of Anna Ångström")
        self.assertTrue(Authenticator.objects.exists())
        response = self.client.post(f"{self.url}second_factor/")
        self.assertRedirects(response, f"{self.url}access/")
        self.assertFalse(Authenticator.objects.exists())
        self.assertGreater(User.objects.get(pk=self.anna.pk).session_epoch, epoch)

    def test_nobody_removes_their_own_second_factor_here(self):
        self.add_factor(self.root)
        self.client.post(f"{PEOPLE}{self.root.pk}/second_factor/")
        self.assertTrue(Authenticator.objects.filter(user=self.root).exists())

    def test_the_action_of_the_list_asks_first(self):
        self.add_factor(self.anna)
        data = {
            "action": "remove_second_factor",
            "_selected_action": [self.anna.pk, self.root.pk],
        }
        page = self.client.post(PEOPLE, data)
        self.assertContains(page, "Remove the second factors of these people?")
        self.assertContains(page, "Remove second factor of Anna Ångström")
        self.assertTrue(Authenticator.objects.exists())
        self.client.post(PEOPLE, data | {"post": "yes"})
        self.assertFalse(Authenticator.objects.exists())


class ListTests(PersonCase):
    """The list of people."""

    def act(self, *people):
        keys = [str(person.pk) for person in people]
        data = {"action": "offboard_selected", "_selected_action": keys}
        return self.client.post("/admin/orgadmin/user/", data)

    def test_names_people_with_the_address_below(self):
        page = self.client.get("/admin/orgadmin/user/")
        self.assertContains(page, "<bdi>Anna Ångström</bdi>")
        self.assertContains(page, '<span class="address"><bdi>anna@example.com</bdi>')
        self.assertContains(self.client.get("/admin/orgadmin/user/?q=anna"), "Anna")

    def test_the_action_that_offboards_asks_first(self):
        response = self.act(self.anna)
        self.assertRedirects(response, f"{self.url}leave/")
        response = self.act(self.anna, self.manager)
        self.assertContains(response, f"#{self.anna.pk}\n#{self.manager.pk}")
        self.assertEqual(response.context["form"]["what"].value(), "offboard")
        self.anna.refresh_from_db()
        self.assertTrue(self.anna.is_active)

    def test_only_superusers_have_the_action(self):
        self.client.force_login(self.manager)
        self.assertNotContains(
            self.client.get("/admin/orgadmin/user/"), "offboard_selected"
        )
        self.act(self.anna, self.root)
        self.anna.refresh_from_db()
        self.assertTrue(self.anna.is_active)


class DangerTests(PersonCase):
    """What ends something is red, names the object, and can be canceled with a link."""

    def test_each_question_has_one_red_button_that_names_the_object(self):
        self.add_factor(self.anna)
        invitation = Invitation.objects.create(
            organization=self.acme, email="new@example.com", role="reviewer"
        )
        bert = create_user("bert", reviewer_of=[self.acme])
        group = Group.objects.create(name="Friends")
        contact = self.acme.contacts.create(name="Carla")
        people = f"/admin/orgadmin/organization/{self.acme.pk}/people/"
        pages = {
            f"{self.url}leave/": "Offboard Anna Ångström",
            f"{self.url}erase/": "Erase anna",
            f"{self.url}delete/": "Delete Anna Ångström",
            f"{self.url}sign_out/": "Sign out Anna Ångström everywhere",
            f"{self.url}second_factor/": "Remove second factor of Anna Ångström",
            f"{people}?remove={bert.pk}": "Remove bert from Acme",
            f"{people}?revoke={invitation.pk}": "Revoke invitation for new@example.com",
            f"/admin/auth/group/{group.pk}/delete/": "Delete Friends",
            f"/admin/orgadmin/contact/{contact.pk}/delete/": "Delete Carla",
        }
        for url, label in pages.items():
            with self.subTest(url):
                page = self.client.get(url)
                button = r'<button class="button primary danger"[^>]*>\s*'
                self.assertRegex(page.content.decode(), rf"{button}{label}\s*</button>")
                self.assertContains(page, "button primary", count=1)
                self.assertContains(page, 'class="cancel-link"', count=1)


class InvitationRowTests(PersonCase):
    def test_shows_how_long_an_invitation_is_valid_and_who_sent_it(self):
        url = f"/admin/orgadmin/organization/{self.acme.pk}/people/"
        Invitation.objects.create(
            organization=self.acme,
            email="new@example.com",
            role="reviewer",
            invited_by=self.root,
        )
        self.client.force_login(self.anna)
        page = self.client.get(url)
        self.assertContains(page, "Invitation, 7 days left")
        self.assertContains(page, "Platform staff")
        self.assertNotContains(page, "root")
        day = timedelta(days=1)
        Invitation.objects.update(sent_at=timezone.now() - 6.5 * day)
        self.assertContains(self.client.get(url), "Invitation, 1 day left")
        Invitation.objects.update(sent_at=timezone.now() - 7 * day)
        self.assertContains(self.client.get(url), "Invitation, expired")
