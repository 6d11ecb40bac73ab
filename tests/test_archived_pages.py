"""The pages that archive organizations, and those of archived ones."""

from django.test import TestCase, override_settings, tag
from django.urls import reverse

from orgadmin.models import Organization
from orgadmin.people import archive
from orgadmin.people.invitations import invite
from orgadmin.people.membership import find_role
from tests.factories import (
    NO_CONTACTS,
    REVIEWER,
    age_sign_in,
    create_organization,
    create_superuser,
    create_user,
)

LIST = "/admin/orgadmin/organization/"
ARCHIVED = f"{LIST}archived/"
MISSING = "you no longer have access to it"


class PagesCase(TestCase):
    def setUp(self):
        self.root = create_superuser()
        self.acme = create_organization("Acme", reference="A1", address="Road 1")
        self.mary = create_user("mary", email="mary@example.com", admin_of=[self.acme])
        self.client.force_login(self.root)

    def archive(self, *, trash=False):
        archive.archive([self.acme.pk], actor=self.root)
        if trash:
            archive.move_to_trash([self.acme.pk], actor=self.root)

    def is_archived(self):
        self.acme.refresh_from_db()
        return self.acme.archived_at is not None

    def get_page(self, step=""):
        return f"{ARCHIVED}{self.acme.pk}/{step}"


class ArchivePageTests(PagesCase):
    def test_the_page_says_what_happens(self):
        page = self.client.get(f"{LIST}{self.acme.pk}/delete/")
        self.assertContains(page, "Archive Acme?")
        self.assertContains(page, "Acme (A1): 1 person loses access")
        self.assertContains(page, "You can restore it at any time")
        self.assertContains(page, 'value="Archive Acme"')
        self.assertNotContains(page, "cannot be undone")

    @tag("C40")
    def test_archives_instead_of_deleting(self):
        response = self.client.post(
            f"{LIST}{self.acme.pk}/delete/", {"post": "yes"}, follow=True
        )
        self.assertContains(response, "“Acme” was archived.")
        self.assertContains(response, ARCHIVED)
        self.assertTrue(self.is_archived())

    @tag("C40")
    def test_the_action_archives_after_it_has_asked(self):
        other = create_organization("Other")
        data = {
            "action": "delete_selected",
            "_selected_action": [self.acme.pk, other.pk],
        }
        page = self.client.post(LIST, data)
        self.assertContains(page, "Archive 2 organizations?")
        self.assertFalse(self.is_archived())
        response = self.client.post(LIST, data | {"post": "yes"}, follow=True)
        self.assertContains(response, "2 organizations were archived.")
        self.assertEqual(Organization.objects.archived().count(), 2)

    @tag("C40")
    def test_delegated_staff_archive_too_but_cannot_restore(self):
        delegate = create_user(
            "delegate",
            is_staff=True,
            permissions=["view_organization", "delete_organization"],
        )
        self.client.force_login(delegate)
        url = f"{LIST}{self.acme.pk}/delete/"
        self.assertContains(self.client.get(url), "only superusers can restore it")
        response = self.client.post(url, {"post": "yes"}, follow=True)
        self.assertContains(response, "was archived.")
        self.assertNotContains(response, ARCHIVED)
        self.assertTrue(self.is_archived())
        for step in ("", "restore/", "trash/", "purge/"):
            self.assertEqual(self.client.get(self.get_page(step)).status_code, 404)
            self.assertEqual(self.client.post(self.get_page(step)).status_code, 404)
        self.assertTrue(self.is_archived())

    def test_admins_cannot_archive(self):
        self.client.force_login(self.mary)
        self.client.post(f"{LIST}{self.acme.pk}/delete/", {"post": "yes"})
        self.assertFalse(self.is_archived())


class ListTests(PagesCase):
    def test_leads_superusers_to_them(self):
        link = f'<a href="{ARCHIVED}">Archived organizations</a>'
        self.assertContains(self.client.get(LIST), link, html=True)
        staff = create_user("staff", is_staff=True, permissions=["view_organization"])
        for user in (staff, self.mary):
            self.client.force_login(user)
            self.assertNotContains(self.client.get(LIST), ARCHIVED)

    def test_has_one_button_and_a_menu_with_the_rest(self):
        page = self.client.get(LIST).text
        head = page[
            page.index('<ul class="object-tools') : page.index("changelist-form")
        ]
        before, menu = head.split("<details", 1)
        menu, after = menu.split("</details>", 1)
        self.assertNotIn("<a ", before)
        for text in ("Import", "Export to Excel", "Export to CSV"):
            self.assertIn(f">{text}</a>", menu)
        self.assertIn("Add organization", after)


class OrdinaryPagesTests(PagesCase):
    """The ordinary pages of an archived organization."""

    PAGES = ("", "overview/", "change/", "people/", "history/", "delete/", "access/")

    @tag("B15")
    def test_say_to_superusers_that_it_is_archived(self):
        self.archive()
        for page in self.PAGES:
            with self.subTest(page):
                url = f"{LIST}{self.acme.pk}/{page}"
                response = self.client.get(url, follow=True)
                self.assertEqual(response.redirect_chain[-1][0], self.get_page())
                self.assertContains(response, "“Acme” is archived, so nobody")

    @tag("B15")
    def test_are_missing_for_everyone_else(self):
        other = create_organization("Other")
        viewer = create_user("viewer", is_staff=True, permissions=["view_organization"])
        member = create_user("member", admin_of=[self.acme, other])
        self.archive()
        for user in (viewer, member):
            self.client.force_login(user)
            for page in self.PAGES:
                if page == "delete/":
                    # They cannot open it anywhere. tests/test_matrix.py compares it.
                    continue
                with self.subTest(user=user.username, page=page):
                    url = f"{LIST}{self.acme.pk}/{page}"
                    response = self.client.get(url, follow=True)
                    self.assertContains(response, MISSING)
                    self.assertNotContains(response, "Acme")

    @tag("B15")
    def test_a_form_that_was_open_saves_nothing(self):
        self.archive()
        data = NO_CONTACTS | {"name": "Changed"}
        self.client.post(f"{LIST}{self.acme.pk}/change/", data)
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.name, "Acme")

    @tag("B15")
    def test_no_list_has_it(self):
        self.acme.contacts.create(name="Acme contact")
        self.archive(trash=True)
        # Recent activity says that it was archived, and leads to its page.
        link = f'<a href="{LIST}archived/{self.acme.pk}/"><bdi>Acme</bdi></a>'
        self.assertEqual(self.client.get("/admin/").content.decode().count(link), 2)
        pages = (
            LIST,
            f"{LIST}?q=acme",
            f"{LIST}export/",
            "/admin/orgadmin/contact/",
            "/admin/auth/group/",
            "/admin/search/?q=acme",
            "/admin/",
        )
        for url in pages:
            with self.subTest(url):
                response = self.client.get(url)
                text = b"".join(response).decode()
                self.assertEqual(response.status_code, 200)
                text = text.replace('value="acme"', "").replace(link, "")
                self.assertNotIn("Acme", text)

    def test_people_have_no_role_there(self):
        people = "/admin/orgadmin/user/"
        self.assertContains(self.client.get(people), "Admin of 1")
        self.archive()
        self.assertNotContains(self.client.get(people), "Admin of 1")
        found = self.client.get(f"{people}?role=admin")
        self.assertNotContains(found, "mary@example.com")


class PersonFormTests(PagesCase):
    """Superusers edit people who have roles in archived organizations."""

    def test_a_role_there_stays_and_the_rest_is_saved(self):
        john = create_user("john", reviewer_of=[self.acme])
        self.archive()
        group = self.acme.reviewer
        data = {
            "username": "john",
            "first_name": "John",
            "groups": [group.pk],
            "groups_shown": str(group.pk),
        }
        self.client.post(f"/admin/orgadmin/user/{john.pk}/change/", data)
        john.refresh_from_db()
        self.assertEqual(john.first_name, "John")
        self.assertFalse(john.is_active)
        self.assertEqual(find_role(self.acme, john), REVIEWER)

    @tag("C40")
    def test_nobody_gets_a_role_there(self):
        john = create_user("john")
        self.archive()
        data = {"username": "john", "groups": [self.acme.reviewer.pk]}
        self.client.post(f"/admin/orgadmin/user/{john.pk}/change/", data)
        self.assertIsNone(find_role(self.acme, john))


class ArchivedListTests(PagesCase):
    def test_lists_what_is_archived(self):
        self.assertContains(self.client.get(ARCHIVED), "No organization is archived.")
        self.archive()
        create_organization("Other")
        page = self.client.get(ARCHIVED)
        self.assertContains(page, self.get_page())
        self.assertContains(page, "root")
        self.assertNotContains(page, "Other")
        self.assertContains(self.client.get(LIST), ARCHIVED)

    def test_finds_by_name_reference_and_address(self):
        self.archive()
        for text in ("acme", "a1", "RÓAD"):
            self.assertContains(self.client.get(ARCHIVED, {"q": text}), "Acme")
        for text in ("other", "\u0301", "%00"):
            page = self.client.get(ARCHIVED, {"q": text})
            self.assertContains(page, "No archived organization matches.")

    def test_the_trash_is_a_part_of_it(self):
        self.archive()
        self.assertNotContains(self.client.get(f"{ARCHIVED}?trash=1"), "Acme")
        archive.move_to_trash([self.acme.pk], actor=self.root)
        page = self.client.get(f"{ARCHIVED}?trash=1")
        self.assertContains(page, "Acme")
        self.assertContains(page, "Will be deleted on")

    def test_runs_the_same_queries_for_any_number(self):
        self.archive()
        others = [create_organization(f"Other {number}") for number in range(5)]
        self.client.get(ARCHIVED)
        # One of them finds out how those who archived them are called now.
        with self.assertNumQueries(4):
            self.client.get(ARCHIVED)
        archive.archive([organization.pk for organization in others], actor=self.root)
        with self.assertNumQueries(4):
            self.client.get(ARCHIVED)

    @tag("B15")
    def test_only_superusers_open_them(self):
        self.archive()
        staff = create_user("staff", is_staff=True, permissions=["view_organization"])
        self.client.force_login(staff)
        for url in (ARCHIVED, self.get_page(), self.get_page("restore/")):
            self.assertEqual(self.client.get(url).status_code, 404)


class ArchivedRecordTests(PagesCase):
    def test_shows_details_people_and_history(self):
        self.acme.tax_id = "T1"
        self.acme.save()
        self.archive()
        page = self.client.get(self.get_page())
        for text in ("Road 1", "T1", "mary@example.com", "Archived.", "Archived on"):
            self.assertContains(page, text)

    def test_restores_after_it_has_named_the_people(self):
        invite(self.acme, "new@example.com", REVIEWER, actor=self.root)
        self.archive(trash=True)
        page = self.client.get(self.get_page("restore/"))
        self.assertContains(page, "Restore Acme?")
        self.assertContains(page, "This person has access again:")
        self.assertContains(page, "mary@example.com")
        self.assertContains(page, "1 invitation works again")
        self.assertNotContains(page, "None of them is an admin")
        response = self.client.post(self.get_page("restore/"), follow=True)
        self.assertContains(response, "“Acme” was restored.")
        self.assertFalse(self.is_archived())
        self.assertIsNone(self.acme.trashed_at)

    def test_warns_if_no_admin_can_sign_in(self):
        self.archive()
        self.mary.is_active = False
        self.mary.changed_by = self.root
        self.mary.save()
        page = self.client.get(self.get_page("restore/"))
        self.assertContains(page, "None of them is an admin who can sign in.")

    @override_settings(TRASH_DAYS=30)
    def test_moves_to_the_trash(self):
        self.archive()
        page = self.client.get(self.get_page("trash/"))
        self.assertContains(page, "Move Acme to the trash?")
        self.assertContains(page, "It will be deleted permanently on")
        self.client.post(self.get_page("trash/"))
        self.acme.refresh_from_db()
        self.assertIsNotNone(self.acme.trashed_at)
        self.assertContains(self.client.get(self.get_page()), "In the trash")

    def test_deletes_permanently(self):
        self.acme.contacts.create(name="Eve")
        self.archive()
        page = self.client.get(self.get_page("purge/"))
        for text in (
            "Delete Acme permanently?",
            "This cannot be undone.",
            "1 contact",
            "the role of 1 person",
        ):
            self.assertContains(page, text)
        response = self.client.post(self.get_page("purge/"), follow=True)
        self.assertContains(response, "“Acme” was deleted permanently.")
        self.assertFalse(Organization.objects.exists())

    @tag("C40")
    def test_an_unarchived_one_has_no_such_page(self):
        for step in ("", "restore/", "trash/", "purge/"):
            for method in (self.client.get, self.client.post):
                response = method(self.get_page(step), follow=True)
                self.assertContains(response, "There is no archived organization")
        self.assertFalse(self.is_archived())

    @tag("D26")
    def test_steps_need_a_recent_sign_in(self):
        self.archive()
        age_sign_in(self.client, minutes=60)
        for step in ("restore/", "trash/", "purge/"):
            self.client.post(self.get_page(step))
        self.assertTrue(self.is_archived())
        self.assertIsNone(self.acme.trashed_at)


class ReferenceTests(PagesCase):
    """A reference of an archived organization is taken only after a question."""

    def setUp(self):
        super().setUp()
        self.archive()
        self.url = reverse("admin:orgadmin_organization_add")
        self.data = NO_CONTACTS | {"name": "New", "reference": "A1"}

    def test_asks_first(self):
        page = self.client.post(self.url, self.data)
        self.assertContains(page, "The archived organization")
        self.assertContains(page, self.get_page())
        self.assertContains(page, "save again")
        self.assertEqual(Organization.objects.count(), 1)

    @tag("C40")
    def test_takes_it_once_confirmed(self):
        self.client.post(self.url, self.data | {"freed_reference": "A1"})
        self.assertEqual(Organization.objects.get(reference="A1").name, "New")
        self.acme.refresh_from_db()
        self.assertIsNone(self.acme.reference)
        self.assertEqual(self.acme.history.first().history_user, self.root)

    def test_another_answer_does_not_count(self):
        self.client.post(self.url, self.data | {"freed_reference": "A2"})
        self.assertEqual(Organization.objects.count(), 1)

    def test_the_same_for_an_existing_one(self):
        other = create_organization("Other")
        url = reverse("admin:orgadmin_organization_change", args=[other.pk])
        data = self.data | {"name": "Other", "initial-name": "Other"}
        page = self.client.post(url, data)
        self.assertContains(page, "The archived organization")
        self.client.post(url, data | {"freed_reference": "A1"})
        other.refresh_from_db()
        self.assertEqual(other.reference, "A1")

    def test_one_that_is_not_archived_keeps_it(self):
        archive.restore([self.acme.pk], actor=self.root)
        page = self.client.post(self.url, self.data | {"freed_reference": "A1"})
        self.assertContains(page, "Another organization has this reference.")
