"""The pages of organizations, people and groups, as a superuser uses them."""

from unittest import mock

from django.contrib.auth.models import Group
from django.test import TestCase, tag

from orgadmin.admin.forms import UserForm
from orgadmin.models import Organization, User
from orgadmin.people.archive import delete_permanently

from .factories import NO_CONTACTS, create_organization, create_superuser, create_user

LIST = "/admin/orgadmin/organization/"
USERS = "/admin/orgadmin/user/"
GROUPS = "/admin/auth/group/"


save_groups = UserForm._save_m2m


def leave_and_save_groups(form):
    """Save the groups of a person who left all of them a moment before."""
    form.instance.groups.clear()
    return save_groups(form)


NAME_EXISTS = "There is an organization with this name, or one that looks like it: "


class SuperuserMixin:
    @classmethod
    def setUpTestData(cls):
        cls.staff = create_superuser()
        cls.acme = create_organization("Acme")
        cls.user = create_user("anna", first_name="Anna", last_name="Ångström")

    def setUp(self):
        self.client.force_login(self.staff)


def from_the_second_time(check):
    """Return a check that misses once what someone else is about to commit."""
    calls = []

    def checked(*args, **kwargs):
        calls.append(args)
        if len(calls) > 1:
            check(*args, **kwargs)

    return checked


class OrganizationAdminTests(SuperuserMixin, TestCase):
    def test_creates_an_organization_and_offers_to_add_its_people(self):
        response = self.client.post(
            f"{LIST}add/",
            NO_CONTACTS | {"name": "New", "reference": "R1", "tax_id": "7"},
            follow=True,
        )
        organization = Organization.objects.get(name="New")
        self.assertEqual(organization.reference, "R1")
        self.assertEqual(organization.tax_id, "7")
        self.assertContains(response, f"{LIST}{organization.pk}/people/")

    def test_a_name_that_exists_is_confirmed_by_saving_again(self):
        data = NO_CONTACTS | {"name": "Acme", "phone": "1"}
        response = self.client.post(f"{LIST}add/", data)
        self.assertContains(response, NAME_EXISTS)
        url = f"{LIST}{self.acme.pk}/overview/"
        link = f'<a href="{url}" target="_blank">Acme ({self.acme.pk})</a>'
        self.assertContains(response, link)
        self.assertContains(
            self.client.post(f"{LIST}add/", data | {"name": "ACME"}),
            NAME_EXISTS,
        )
        self.assertEqual(response.context["adminform"].form["namesake"].value(), "Acme")
        self.assertContains(response, 'name="namesake" value="Acme"')
        other = self.client.post(f"{LIST}add/", {**data, "namesake": "Other"})
        self.assertContains(other, NAME_EXISTS)
        response = self.client.post(f"{LIST}add/", {**data, "namesake": "Acme"})
        added = Organization.objects.filter(name="Acme").last()
        self.assertRedirects(response, f"{LIST}{added.pk}/overview/")
        self.assertEqual(Organization.objects.filter(name="Acme").count(), 2)

    def test_the_name_in_the_question_is_escaped(self):
        create_organization("<b>Bold</b>")
        response = self.client.post(f"{LIST}add/", {"name": "<b>Bold</b>"})
        self.assertNotContains(response, "<b>Bold</b>")

    def test_bad_input_is_refused_next_to_the_field_and_changes_nothing(self):
        url = f"{LIST}{self.acme.pk}/change/"
        create_organization("Other", reference="R1")
        for field, value in (
            ("name", " "),
            ("name", "a\x00b"),
            ("email", "nobody"),
            ("website", "javascript:alert(1)"),
            ("reference", "R1"),
            ("phone", "1" * 51),
        ):
            with self.subTest(field=field, value=value):
                data = NO_CONTACTS | {"name": "New", field: value}
                response = self.client.post(url, data)
                errors = response.context["adminform"].form.errors
                self.assertEqual(list(errors), [field])
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.name, "Acme")

    def test_a_reference_that_is_taken_during_the_save_is_refused_next_to_the_field(
        self,
    ):
        create_organization("Other", reference="R1")
        for url in (f"{LIST}{self.acme.pk}/change/", f"{LIST}add/"):
            check = from_the_second_time(Organization.validate_unique)
            data = NO_CONTACTS | {"name": url, "reference": "R1", "form_key": "a key"}
            with mock.patch.object(Organization, "validate_unique", check):
                response = self.client.post(url, data)
            errors = response.context["adminform"].form.errors
            self.assertEqual(list(errors), ["reference"])
            # With another reference, the same form is saved.
            response = self.client.post(url, data | {"reference": url})
            self.assertEqual(response.status_code, 302)

    def test_an_empty_reference_is_stored_as_null(self):
        for name in ("A", "B"):
            self.client.post(
                f"{LIST}add/", NO_CONTACTS | {"name": name, "reference": ""}
            )
        self.assertEqual(Organization.objects.filter(reference=None).count(), 3)

    def test_groups_are_shown_as_text_and_cannot_be_chosen(self):
        response = self.client.get(f"{LIST}{self.acme.pk}/change/")
        self.assertContains(response, "Acme Admin")
        self.assertNotContains(response, "<select")
        other = Group.objects.create(name="Other")
        self.client.post(
            f"{LIST}{self.acme.pk}/change/",
            NO_CONTACTS | {"name": "Acme", "admin": other.pk},
        )
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.admin.name, "Acme Admin")

    def test_the_archive_page_says_who_loses_access(self):
        create_user("bert", admin_of=[self.acme])
        create_user("carl", admin_of=[self.acme])
        dora = create_user("dora", reviewer_of=[self.acme])
        # Past `membership`: she is in both groups, and still counts once.
        dora.groups.add(self.acme.admin)
        url = f"{LIST}{self.acme.pk}/delete/"
        response = self.client.get(url)
        self.assertContains(response, f"Acme ({self.acme.pk}): 3 people lose access")
        self.assertRedirects(self.client.post(url, {"post": "yes"}), LIST)
        self.assertEqual(Group.objects.filter(name__startswith="Acme").count(), 2)
        self.client.post(f"{LIST}archived/{self.acme.pk}/purge/")
        self.assertFalse(Group.objects.filter(name__startswith="Acme").exists())

    @tag("A18")
    def test_selected_organizations_are_archived_and_deleted_with_their_groups(self):
        organizations = Organization.objects.bulk_create(
            Organization(name=f"Gone {number}") for number in range(30)
        )
        data = {
            "action": "delete_selected",
            "_selected_action": [organization.pk for organization in organizations],
        }
        # Session, user, the count of the list, its rows, their groups, and their
        # people.
        with self.assertNumQueries(6):
            response = self.client.post(LIST, data)
        self.assertContains(
            response, f"Gone 7 ({organizations[7].pk}): 0 people lose access"
        )
        self.client.post(LIST, {**data, "post": "yes"})
        self.assertEqual(list(Organization.objects.unarchived()), [self.acme])
        pks = [organization.pk for organization in organizations]
        delete_permanently(pks, actor=None)
        self.assertEqual(list(Organization.objects.all()), [self.acme])
        self.assertEqual(Group.objects.count(), 2)


class UserAdminTests(SuperuserMixin, TestCase):
    def post(self, user, groups, **values):
        data = {
            "username": user.username,
            "date_joined_0": "2026-01-01",
            "date_joined_1": "00:00:00",
            "is_active": "on",
            "groups": [group.pk for group in groups],
        }
        return self.client.post(f"{USERS}{user.pk}/change/", data | values)

    def test_no_page_lists_all_groups(self):
        for number in range(30):
            create_organization(f"Hidden {number}")
        for url in (
            USERS,
            f"{USERS}{self.user.pk}/change/",
            f"{USERS}add/",
            f"{USERS}?is_staff__exact=1",
        ):
            with self.subTest(url=url):
                self.assertNotContains(self.client.get(url), "Hidden")

    def test_a_group_gives_its_role(self):
        self.assertRedirects(
            self.post(self.user, [self.acme.admin]), f"{USERS}{self.user.pk}/overview/"
        )
        self.assertEqual(list(self.user.groups.all()), [self.acme.admin])

    def test_a_new_role_replaces_the_old(self):
        self.post(self.user, [self.acme.reviewer])
        self.post(self.user, [self.acme.reviewer, self.acme.admin])
        self.assertEqual(list(self.user.groups.all()), [self.acme.admin])

    def test_two_new_roles_at_once_are_refused_next_to_the_field(self):
        response = self.post(self.user, [self.acme.reviewer, self.acme.admin])
        self.assertContains(response, "admin and reviewer cannot be combined in Acme.")
        self.assertFalse(self.user.groups.exists())

    @tag("C9")
    def test_removing_the_last_admin_is_confirmed_by_saving_again(self):
        self.user.groups.add(self.acme.admin)
        for groups in ([], [self.acme.reviewer]):
            response = self.post(self.user, groups)
            text = (
                f"No active admin would be left in “Acme” ({self.acme.pk}). Save again"
                " to confirm."
            )
            self.assertContains(response, text)
            self.assertEqual(list(self.user.groups.all()), [self.acme.admin])
        field = f'name="confirmed_organizations" value="{self.acme.pk}"'
        self.assertContains(response, field)
        beta = create_organization("Beta")
        self.user.groups.add(beta.admin)
        # To confirm it for one organization does not confirm it for another.
        for groups in ([self.acme.admin], []):
            response = self.post(
                self.user, groups, confirmed_organizations=self.acme.pk
            )
            self.assertContains(response, f"“Beta” ({beta.pk}). Save again to confirm.")
        self.assertRedirects(
            self.post(self.user, [beta.admin], confirmed_organizations=self.acme.pk),
            f"{USERS}{self.user.pk}/overview/",
        )
        self.assertEqual(list(self.user.groups.all()), [beta.admin])

    def test_it_is_confirmed_for_a_name_with_a_line_break_too(self):
        two = create_organization("Two\nlines")
        self.user.groups.add(two.admin)
        self.assertContains(self.post(self.user, []), "Save again to confirm.")
        self.assertRedirects(
            self.post(self.user, [], confirmed_organizations=two.pk),
            f"{USERS}{self.user.pk}/overview/",
        )

    def test_an_admin_who_is_not_the_last_is_removed_at_once(self):
        create_user("other", admin_of=[self.acme])
        self.user.groups.add(self.acme.admin)
        self.assertRedirects(
            self.post(self.user, []), f"{USERS}{self.user.pk}/overview/"
        )
        self.assertFalse(self.user.groups.exists())

    def test_a_role_that_is_lost_while_the_other_is_chosen_breaks_nothing(self):
        self.user.groups.add(self.acme.admin)
        with mock.patch.object(UserForm, "_save_m2m", leave_and_save_groups):
            response = self.post(
                self.user,
                [self.acme.reviewer, self.acme.admin],
                confirmed_organizations=self.acme.pk,
            )
        page = f"{USERS}{self.user.pk}/change/"
        self.assertRedirects(response, page, fetch_redirect_response=False)
        self.assertContains(self.client.get(page), "Nothing was saved, because")
        self.assertEqual(list(self.user.groups.all()), [self.acme.admin])

    def test_an_email_that_is_taken_during_the_save_is_refused_next_to_the_field(self):
        create_user("bert", email="bert@example.com")
        with mock.patch.object(User, "clean", from_the_second_time(User.clean)):
            response = self.post(self.user, [], email="BERT@example.com")
        self.assertContains(response, "Someone else has this email address.")

    def test_an_email_that_someone_else_has_is_refused_next_to_the_field(self):
        create_user("bert", email="bert@example.com")
        response = self.post(self.user, [], email="BERT@example.com")
        self.assertContains(response, "Someone else has this email address.")

    def test_adds_a_person(self):
        password = "correct horse battery"
        data = {
            "username": "new",
            "usable_password": "true",
            "password1": password,
            "password2": password,
        }
        self.assertEqual(self.client.post(f"{USERS}add/", data).status_code, 302)
        self.assertTrue(User.objects.get(username="new").check_password(password))


class GroupAdminTests(SuperuserMixin, TestCase):
    def test_links_the_organization(self):
        link = f'<a href="{LIST}{self.acme.pk}/overview/">Acme</a>'
        self.assertContains(self.client.get(GROUPS), link, count=2)
        self.assertContains(
            self.client.get(f"{GROUPS}{self.acme.admin_id}/change/"), link
        )

    def test_costs_the_same_for_many_groups(self):
        self.client.get(GROUPS)
        with self.assertNumQueries(3):
            self.client.get(GROUPS)
        Organization.objects.bulk_create(
            Organization(name=f"Many {number}") for number in range(40)
        )
        with self.assertNumQueries(3):
            self.client.get(GROUPS)

    def test_a_group_of_an_organization_cannot_be_edited(self):
        url = f"{GROUPS}{self.acme.reviewer_id}/change/"
        self.assertEqual(self.client.post(url, {"name": "Mine"}).status_code, 403)
        other = Group.objects.create(name="Other")
        url = f"{GROUPS}{other.pk}/change/"
        self.assertEqual(self.client.post(url, {"name": "Mine"}).status_code, 302)

    def test_a_group_of_an_organization_cannot_be_deleted_and_the_page_says_why(self):
        url = f"{GROUPS}{self.acme.admin_id}/delete/"
        for response in (self.client.get(url), self.client.post(url, {"post": "yes"})):
            self.assertContains(response, "Organization: ")
            self.assertContains(response, ">Acme</a>")
        data = {
            "action": "delete_selected",
            "_selected_action": [self.acme.admin_id],
            "post": "yes",
        }
        self.assertContains(self.client.post(GROUPS, data), ">Acme</a>")
        self.assertTrue(Group.objects.filter(pk=self.acme.admin_id).exists())
