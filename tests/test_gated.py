"""What each kind of user can see and change in the admin, and what is hidden."""

import re
from dataclasses import dataclass
from unittest import mock
from urllib.parse import quote

from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError
from django.db.models import QuerySet
from django.test import RequestFactory, TestCase, tag
from django.urls import NoReverseMatch, reverse

from orgadmin.admin import form_page
from orgadmin.admin.forms import OrganizationForm
from orgadmin.admin.gated import GatedModelAdmin, GatedOrganizationAdmin
from orgadmin.models import Organization, User

from .factories import (
    NO_CONTACTS,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    grant,
    set_role,
)

LIST = "/admin/orgadmin/organization/"
CONTACTS = "/admin/orgadmin/contact/"
CHOICES = "/admin/autocomplete/"
CANARY = "Canary"
MISSING_PK = 880088


def get_url(organization, page="change"):
    return f"{LIST}{organization.pk}/{page}/"


@dataclass(frozen=True)
class Response:
    """Everything that a response reveals, in a form that can be compared."""

    status: int
    location: str
    text: str
    text_after_redirect: str


class GateMixin:
    """An organization that the user manages, one that they review, and another one.

    Every text of the foreign one contains the canary.
    """

    @classmethod
    def setUpTestData(cls):
        cls.own = create_organization(
            "Own", reference="OWN-1", phone="1", tax_id="SECRET-OWN"
        )
        cls.reviewed = create_organization(
            "Reviewed", notes="SECRET-REVIEWED", email="mail@example.com"
        )
        cls.foreign = create_organization(
            "Canary Ltd",
            pk=770077,
            reference="CANARY-1",
            email="canary@example.com",
            website="https://canary.example.com",
            phone="Canary phone",
            address="Canary street",
            tax_id="Canary tax",
            notes="Canary notes",
        )
        cls.missing = Organization(pk=MISSING_PK)
        cls.user = create_user(admin_of=[cls.own], reviewer_of=[cls.reviewed])
        cls.superuser = create_superuser()

    def setUp(self):
        self.client.force_login(self.user)

    def request(self, method, url, data=None):
        response = getattr(self.client, method)(url, data or {})
        location = response.get("Location", "")
        text_after_redirect = ""
        if response.status_code == 302:
            text_after_redirect = self.read(self.client.get(location))
        return Response(
            response.status_code, location, self.read(response), text_after_redirect
        )

    def read(self, response):
        """Return the text of a response, without the token that differs each time."""
        token = r'name="csrfmiddlewaretoken" value="\w+"'
        return re.sub(token, "", response.content.decode())

    def search(self, text):
        response = self.client.get(LIST, {"q": text})
        return list(response.context["cl"].queryset)


class ForeignIsMissingTests(GateMixin, TestCase):
    @tag("A1", "A27", "A35")
    def test_every_page_and_method_answers_a_foreign_id_like_a_missing_one(self):
        methods = ("get", "post", "head", "options", "put", "delete", "patch")
        for page in ("change/", "history/", "delete/", "people/", ""):
            for method in methods:
                with self.subTest(page=page, method=method):
                    self.assert_same_response(method, page)
        self.foreign.refresh_from_db()
        self.assertEqual(self.foreign.name, "Canary Ltd")

    def assert_same_response(self, method, page):
        data = {"name": "Taken over"}
        foreign = self.request(method, f"{LIST}{self.foreign.pk}/{page}", data)
        missing = self.request(method, f"{LIST}{MISSING_PK}/{page}", data)
        self.assertEqual(self.replace_key(foreign, self.foreign), missing)
        self.assertNotIn(CANARY, str(foreign))

    def replace_key(self, response, organization):
        """Return a response as if its organization were the missing one."""
        old = str(organization.pk)
        new = str(MISSING_PK)
        return Response(
            response.status,
            response.location.replace(old, new),
            response.text.replace(old, new),
            response.text_after_redirect.replace(old, new),
        )

    @tag("D4")
    def test_a_form_opened_before_access_ended_is_answered_like_a_missing_id(self):
        data = {
            "name": "Mine",
            "website": "",
            "email": "",
            "phone": "",
            "address": "",
            "tax_id": "",
            "notes": "",
        }
        self.assertEqual(self.client.get(get_url(self.own)).status_code, 200)
        self.user.groups.remove(self.own.admin)
        own = self.request("post", get_url(self.own), data)
        missing = self.request("post", get_url(self.missing), data)
        replaced = self.replace_key(own, self.own)
        self.assertEqual(replaced.status, missing.status)
        self.assertEqual(replaced.location, missing.location)
        self.assertIn("or you no longer have access to it", own.text_after_redirect)
        self.own.refresh_from_db()
        self.assertEqual(self.own.name, "Own")

    @tag("A37")
    def test_the_message_does_not_repeat_markup(self):
        url = f"{LIST}<script>alert(1)</script>/change/"
        response = self.client.get(url, follow=True)
        self.assertNotContains(response, "<script>alert(1)")


class OrgAdminTests(GateMixin, TestCase):
    @tag("A3", "A38")
    def test_sees_own_and_reviewed_organizations_only(self):
        response = self.client.get(LIST)
        listed = list(response.context["cl"].queryset)
        self.assertEqual(listed, [self.own, self.reviewed])
        self.assertContains(response, "2 organizations")
        self.assertNotContains(response, CANARY)

    @tag("A4")
    def test_search_finds_own_organizations_only(self):
        self.assertEqual(self.search("own"), [self.own])
        self.assertEqual(self.search("canary"), [])

    def test_search_does_not_look_into_confidential_fields(self):
        for text in ("SECRET-OWN", "SECRET-REVIEWED"):
            self.assertEqual(self.search(text), [])

    def test_edits_an_organization_and_reads_its_history(self):
        data = NO_CONTACTS | {
            "name": "Own new",
            "email": "own@example.com",
            "tax_id": "7",
            "address": "Street 1\r\nTown",
        }
        response = self.client.post(get_url(self.own), data)
        self.assertRedirects(response, get_url(self.own, "overview"))
        self.own.refresh_from_db()
        self.assertEqual(self.own.name, "Own new")
        self.assertEqual(self.own.tax_id, "7")
        self.assertEqual(self.own.admin.name, "Own new Admin")
        history = self.client.get(get_url(self.own, "history"))
        self.assertContains(history, "Tax ID")

    @tag("A36")
    def test_sees_neither_groups_nor_their_names(self):
        response = self.client.get(get_url(self.own))
        self.assertNotContains(response, "Own Admin")
        self.assertNotContains(response, "/admin/auth/group/")

    @tag("C6", "A21")
    def test_cannot_set_reference_or_groups(self):
        data = NO_CONTACTS | {
            "name": "Own",
            "reference": "NEW",
            "admin": self.foreign.admin_id,
            "reviewer": self.foreign.reviewer_id,
        }
        self.client.post(get_url(self.own), data)
        self.own.refresh_from_db()
        self.assertEqual(self.own.reference, "OWN-1")
        self.assertEqual(self.own.admin.name, "Own Admin")
        self.assertContains(self.client.get(get_url(self.own)), "OWN-1")

    @tag("A30", "A36")
    def test_a_delete_page_names_no_groups(self):
        create_organization("Namesake")
        own = create_organization("Namesake")
        user = create_user("deleter", admin_of=[own])
        grant(user, "delete_organization", own)
        self.client.force_login(user)
        response = self.client.get(get_url(own, "delete"))
        self.assertContains(response, f"Namesake ({own.pk}): 1 person loses access")
        self.assertNotContains(response, "Namesake 1")

    @tag("A17", "A19", "A30")
    def test_adds_and_deletes_nothing(self):
        before = set(Organization.objects.values_list("pk", flat=True))
        urls = [
            f"{LIST}add/",
            get_url(self.own, "delete"),
            get_url(self.reviewed, "delete"),
        ]
        for url in urls:
            for method in (self.client.get, self.client.post):
                with self.subTest(url=url, method=method):
                    response = method(url, {"name": "New", "post": "yes"})
                    self.assertEqual(response.status_code, 403)
        self.client.post(get_url(self.own), {"name": "New", "_saveasnew": "1"})
        for organization in (self.own, self.foreign):
            data = {
                "action": "delete_selected",
                "_selected_action": [organization.pk],
                "post": "yes",
            }
            self.client.post(LIST, data)
        self.assertEqual(set(Organization.objects.values_list("pk", flat=True)), before)

    def test_is_not_offered_to_add_or_delete(self):
        response = self.client.get(LIST)
        self.assertNotContains(response, "delete_selected")
        self.assertNotContains(response, f"{LIST}add/")
        response = self.client.get(get_url(self.own))
        self.assertNotContains(response, get_url(self.own, "delete"))

    @tag("A36")
    def test_may_take_the_name_of_a_foreign_organization_and_is_not_told(self):
        data = NO_CONTACTS | {"name": "Canary Ltd"}
        response = self.client.post(get_url(self.own), data, follow=True)
        self.assertRedirects(response, get_url(self.own, "overview"))
        self.assertEqual(Organization.objects.filter(name="Canary Ltd").count(), 2)

    @tag("D4")
    def test_loses_access_with_the_next_request_when_removed(self):
        self.assertEqual(self.client.get(LIST).status_code, 200)
        self.user.groups.clear()
        self.assertRedirects(self.client.get(LIST), f"/admin/login/?next={LIST}")

    @tag("D3")
    def test_loses_access_with_the_next_request_when_deactivated(self):
        User.objects.filter(pk=self.user.pk).update(is_active=False)
        self.assertRedirects(self.client.get(LIST), f"/admin/login/?next={LIST}")

    def test_a_direct_grant_gives_only_its_own_permission(self):
        grant(self.user, "view_organization", self.foreign)
        url = get_url(self.foreign)
        self.assertEqual(self.client.get(url).status_code, 200)
        self.assertEqual(self.client.post(url, {"name": "New"}).status_code, 403)


class ReviewerTests(GateMixin, TestCase):
    def log(self, *messages):
        LogEntry.objects.log_actions(
            self.superuser.pk, [self.reviewed], CHANGE, list(messages)
        )

    def log_text(self, text):
        """Add a log entry with a text that Django would not write."""
        LogEntry.objects.create(
            user=self.superuser,
            content_type=ContentType.objects.get_for_model(Organization),
            object_id=self.reviewed.pk,
            action_flag=CHANGE,
            change_message=text,
        )

    def test_reads_the_page_without_confidential_fields(self):
        response = self.client.get(get_url(self.reviewed))
        self.assertContains(response, "mail@example.com")
        for text in (
            "SECRET-REVIEWED",
            "Tax ID",
            "Notes",
            "Confidential",
            'name="_save"',
            '<input type="text"',
        ):
            with self.subTest(text=text):
                self.assertNotContains(response, text)

    @tag("A2")
    def test_changes_nothing(self):
        response = self.client.post(get_url(self.reviewed), {"name": "New"})
        self.assertEqual(response.status_code, 403)
        self.reviewed.refresh_from_db()
        self.assertEqual(self.reviewed.name, "Reviewed")

    @tag("A27")
    def test_reads_the_history_without_confidential_fields(self):
        # Without versions, the history shows the log, as from before there were any.
        self.reviewed.history.all().delete()
        contact = {"changed": {"name": "contact", "object": "Ada", "fields": ["Phone"]}}
        self.log({"changed": {"fields": ["Phone", "Tax ID"]}}, contact)
        self.log({"changed": {"fields": ["Notes"]}})
        # A field may have had another label once.
        self.log({"changed": {"fields": ["VAT number"]}})
        self.log_text("Changed notes by hand")
        malformed = (
            '[{"changed": "x"}]',
            '[{"added": null}]',
            '[{"changed": {"fields": 5}}]',
            '[{"changed": {"name": [1]}}]',
            '[{"changed": {"fields": [["a"]]}}]',
            "[5]",
            "{}",
        )
        for text in malformed:
            self.log_text(text)
        url = get_url(self.reviewed, "history")
        response = self.client.get(url)
        LogEntry.objects.filter(change_message__in=malformed).delete()
        self.assertContains(response, "Changed Phone for contact “Ada”.")
        for text in ("Tax ID", "Notes", "notes", "VAT number"):
            self.assertNotContains(response, text)
        self.assertEqual(len(response.context["action_list"]), 1)
        self.assertContains(response, "Platform staff")
        self.assertNotContains(response, "root")
        self.client.force_login(self.superuser)
        response = self.client.get(url)
        self.assertEqual(len(response.context["action_list"]), 4)

    def test_history_of_many_entries_is_paged(self):
        self.reviewed.history.all().delete()
        contact = {"changed": {"name": "contact", "object": "Ada", "fields": ["Phone"]}}
        for _number in range(120):
            self.log(contact)
        url = get_url(self.reviewed, "history")
        query = ""
        lengths = []
        while query is not None:
            context = self.client.get(f"{url}{query}").context
            lengths.append(len(context["action_list"]))
            query = f"?before={context['older']}" if context["older"] else None
        self.assertEqual(lengths, [50, 50, 20])


class ClosedPagesTests(GateMixin, TestCase):
    """Pages for platform staff do not exist for anyone else."""

    @tag("A27")
    def test_people_and_groups_are_answered_alike_whether_they_exist_or_not(self):
        delegate = create_user(
            "delegate", is_staff=True, permissions=["change_user", "view_group"]
        )
        for user in (self.user, delegate):
            self.client.force_login(user)
            self.assert_closed("orgadmin_user", self.superuser)
            self.assert_closed("auth_group", self.foreign.admin)

    def assert_closed(self, name, obj):
        for page in ("changelist", "add"):
            response = self.client.get(reverse(f"admin:{name}_{page}"))
            self.assertEqual(response.status_code, 403)
        for page in ("change", "history", "delete"):
            responses = []
            for pk in (obj.pk, 999_999):
                response = self.client.get(reverse(f"admin:{name}_{page}", args=[pk]))
                responses.append((response.status_code, response.get("Location")))
            self.assertEqual(*responses, f"{name} {page}")

    @tag("A32", "A23")
    def test_index_shows_organizations_only(self):
        response = self.client.get("/admin/")
        self.assertContains(response, LIST)
        for text in ("/admin/auth/", "/admin/orgadmin/user/", CANARY):
            self.assertNotContains(response, text)
        self.assertEqual(self.client.get("/admin/auth/").status_code, 404)
        self.assertEqual(self.client.get("/admin/orgadmin/").status_code, 200)

    @tag("A28")
    def test_recent_actions_do_not_show_what_is_no_longer_visible(self):
        for organization in (self.own, self.foreign):
            LogEntry.objects.log_actions(
                self.user.pk,
                [organization],
                CHANGE,
                [{"added": {"name": "contact", "object": "Eve"}}],
            )
        response = self.client.get("/admin/")
        self.assertContains(response, "Added contact “Eve”.")
        self.assertContains(response, f"/admin/orgadmin/organization/{self.own.pk}/")
        self.assertNotContains(response, CANARY)

    @tag("A26")
    def test_view_on_site_does_not_exist(self):
        content_type = ContentType.objects.get_for_model(Organization)
        for pk in (self.own.pk, self.foreign.pk, MISSING_PK):
            response = self.client.get(f"/admin/r/{content_type.pk}/{pk}/")
            self.assertEqual(response.status_code, 404)
        with self.assertRaises(NoReverseMatch):
            reverse("admin:view_on_site", args=[content_type.pk, self.own.pk])

    @tag("A24", "A25", "F7")
    def test_autocomplete_is_closed_for_other_models_and_breaks_on_nothing(self):
        fields = [
            ("auth", "group", "administrators_of"),
            ("orgadmin", "user", "groups"),
            ("orgadmin", "organization", "admin"),
            ("orgadmin", "organizationuserobjectpermission", "user"),
            ("x", "y", "z"),
            ("orgadmin", "user", "nothing"),
        ]
        queries = [{}]
        for app_label, model_name, field_name in fields:
            for term in ("", "Can"):
                queries.append(
                    {
                        "app_label": app_label,
                        "model_name": model_name,
                        "field_name": field_name,
                        "term": term,
                    }
                )
        for query in queries:
            with self.subTest(query):
                response = self.client.get(CHOICES, query)
                self.assertEqual(response.status_code, 403)

    @tag("D13")
    def test_caches_keep_nothing_behind_the_sign_in(self):
        for url in (
            "/admin/",
            LIST,
            get_url(self.own),
            "/admin/password_change/",
            "/admin/password_change/done/",
        ):
            response = self.client.get(url)
            self.assertIn("no-store", response["Cache-Control"], url)

    def test_the_base_class_hides_confidential_fields_and_groups(self):
        organization_admin = GatedOrganizationAdmin(Organization, admin.site)
        for user in (self.user, self.superuser):
            request = RequestFactory().get("/")
            request.user = user
            request.session = self.client.session
            fieldsets = organization_admin.get_fieldsets(request, self.reviewed)
            fields = set(flatten_fieldsets(fieldsets))
            confidential = {"tax_id", "notes"} if user == self.superuser else set()
            self.assertEqual(fields & {"tax_id", "notes"}, confidential)
            self.assertFalse(fields & {"admin", "reviewer"})
            self.assertLessEqual({"name", "phone"}, fields)


class SavingTests(GateMixin, TestCase):
    def test_an_invalid_form_sent_as_new_shows_its_errors(self):
        self.client.force_login(self.superuser)
        data = NO_CONTACTS | {"name": "", "_saveasnew": "1"}
        for url in (f"{LIST}add/", get_url(self.own)):
            self.assertEqual(self.client.post(url, data).status_code, 200)

    def test_an_organization_deleted_during_a_save_is_answered_like_a_missing_one(self):
        """Saving fails, and when it is tried again, the organization is gone."""

        def delete_after(error):
            Organization.objects.filter(pk=self.own.pk).delete()
            return isinstance(error, DatabaseError)

        self.client.force_login(self.superuser)
        with (
            mock.patch.object(OrganizationForm, "save", side_effect=DatabaseError),
            mock.patch.object(form_page, "is_caused_by_another_change", delete_after),
        ):
            response = self.client.post(
                get_url(self.own), NO_CONTACTS | {"name": "New"}, follow=True
            )
        self.assertContains(response, "or you no longer have access to it")

    @tag("D4")
    def test_a_permission_that_ends_while_a_save_waits_saves_nothing(self):
        original_view = GatedModelAdmin.changeform_view
        anna = create_user("waiting", admin_of=[self.own])
        create_user("boss", admin_of=[self.own])

        def demote_and_save(model_admin, request, *args, **kwargs):
            set_role(self.own, [anna], REVIEWER)
            return original_view(model_admin, request, *args, **kwargs)

        self.client.force_login(anna)
        with mock.patch.object(GatedModelAdmin, "changeform_view", demote_and_save):
            response = self.client.post(
                get_url(self.own), NO_CONTACTS | {"name": "New", "notes": "new"}
            )
        self.assertEqual(response.status_code, 403)
        self.assertEqual(Organization.objects.get(pk=self.own.pk).name, "Own")

    def test_the_row_is_locked_however_the_url_spells_its_key(self):
        self.client.force_login(self.superuser)
        for url in (
            get_url(self.own),
            f"{get_url(self.own)}?_to_field=id",
            f"{LIST}{self.own.pk:025}/change/",
        ):
            with mock.patch.object(
                QuerySet,
                "select_for_update",
                autospec=True,
                side_effect=QuerySet.select_for_update,
            ) as lock:
                self.client.post(url, NO_CONTACTS | {"name": "Own", "phone": "1"})
            locked = [call.args[0].model for call in lock.call_args_list]
            self.assertIn(Organization, locked, url)


class InvalidInputTests(GateMixin, TestCase):
    """No input ends in a server error."""

    def test_keys_of_choices(self):
        for user in (self.user, self.superuser):
            self.client.force_login(user)
            for key in ("x", "\0", "9" * 30, "9" * 5_000, "-1"):
                with self.subTest(user=user, key=key[:40]):
                    data = {"name": "x", "organization": key}
                    for url in (
                        f"{CONTACTS}add/",
                        f"{CONTACTS}add/?organization={quote(key)}",
                    ):
                        response = self.client.post(url, data)
                        self.assertEqual(response.status_code, 200)
                        self.assertEqual(self.client.get(url).status_code, 200)

    def test_keys_of_selected_rows(self):
        for user in (self.user, self.superuser):
            self.client.force_login(user)
            for key in ("x", "\0", "9" * 30, "9" * 5_000, "-1"):
                with self.subTest(user=user, key=key[:40]):
                    data = {"action": "delete_selected", "_selected_action": key}
                    response = self.client.post(CONTACTS, data)
                    self.assertEqual(response.status_code, 400)

    def test_keys_of_people(self):
        for user in (self.user, self.superuser):
            self.client.force_login(user)
            for key in ("x", "\0", "9" * 30, "9" * 5_000, "-1"):
                for data in (
                    {"add": "1", "add-who": key, "add-role": "admin"},
                    {"user": key, "role": "admin"},
                    {"user": key, "remove": ""},
                ):
                    with self.subTest(user=user, key=key[:40]):
                        response = self.client.post(get_url(self.own, "people"), data)
                        self.assertLess(response.status_code, 400)

    @tag("E4", "F2")
    def test_searches(self):
        query = {
            "app_label": "orgadmin",
            "model_name": "contact",
            "field_name": "organization",
        }
        for text in ("\0", "a " * 1_000, "a" * 60_000, "'", '"', "%", "\\"):
            with self.subTest(text=text[:20]):
                response = self.client.get(LIST, {"q": text})
                self.assertEqual(response.status_code, 200)
                response = self.client.get(CHOICES, query | {"term": text})
                self.assertEqual(response.status_code, 200)

    @tag("A9", "A10", "A11", "A12", "F1", "F3", "F4", "F5", "F6")
    def test_lookups_that_no_filter_declares_are_ignored(self):
        queries = [
            "name=Own",
            "name__regex=(",
            "notes__regex=^(a%2B)%2B$",
            "tax_id__startswith=S",
            "name=%00",
            "id__gte=1",
            "admin__user__password__startswith=p",
            "reviewers_of__name=x",
            "group_grants__group__name__startswith=C",
        ]
        for user in (self.user, self.superuser):
            self.client.force_login(user)
            rows = self.client.get(LIST).context["cl"].result_list
            for query in queries:
                with self.subTest(user=user, query=query):
                    response = self.client.get(f"{LIST}?{query}")
                    self.assertEqual(response.status_code, 200)
                    changelist = response.context["cl"]
                    self.assertEqual(changelist.result_list, rows)
                    self.assertEqual(changelist.get_query_string(), "?")

    @tag("A7", "A13", "A14", "F2")
    def test_parameters_of_lists(self):
        for query in (
            "q=%00",
            "o=1.2.-3",
            "o=99",
            "p=0",
            "p=99999",
            "all=",
            "_popup=1",
            "_to_field=id",
            "e=1",
            "_facets",
        ):
            with self.subTest(query=query):
                response = self.client.get(f"{LIST}?{query}", follow=True)
                self.assertEqual(response.status_code, 200)
                self.assertNotContains(response, CANARY)
        response = self.client.get(f"{LIST}?_to_field=admin__name")
        self.assertEqual(response.status_code, 400)

    @tag("A34")
    @tag("A13")
    def test_an_empty_field_to_refer_to(self):
        expected = (200, 302, 403)
        for user in (self.user, self.superuser):
            self.client.force_login(user)
            for organization in (self.own, self.foreign, self.missing):
                for page in ("change", "delete"):
                    url = get_url(organization, page)
                    response = self.client.get(f"{url}?_to_field=")
                    self.assertIn(response.status_code, expected)
                    response = self.client.post(url, NO_CONTACTS | {"_to_field": ""})
                    self.assertIn(response.status_code, expected)

    def test_keys_in_urls(self):
        for pk in ("0", "-1", "9" * 400, "abc", "1_5F1", "%00", "١", "1 ", "None"):
            with self.subTest(pk=pk):
                response = self.client.get(f"{LIST}{pk}/change/")
                self.assertIn(response.status_code, (200, 302, 404))


class DelegatedStaffTests(GateMixin, TestCase):
    def test_a_delegated_viewer_sees_everything_and_changes_nothing(self):
        viewer = create_user("viewer", is_staff=True, permissions=["view_organization"])
        self.client.force_login(viewer)
        self.assertContains(self.client.get(LIST), "3 organizations")
        response = self.client.get(get_url(self.foreign))
        self.assertEqual(response.status_code, 200)
        self.assertNotContains(response, "Canary tax")
        response = self.client.post(get_url(self.foreign), {"name": "New"})
        self.assertEqual(response.status_code, 403)
        self.assertEqual(self.client.get(f"{LIST}add/").status_code, 403)

    def test_a_delegated_creator_creates(self):
        creator = create_user(
            "creator",
            is_staff=True,
            permissions=["view_organization", "add_organization"],
        )
        self.client.force_login(creator)
        self.assertEqual(self.client.get(f"{LIST}add/").status_code, 200)
        data = {"name": "New", "reference": "SET", "tax_id": "SET", "admin": "1"}
        self.client.post(f"{LIST}add/", NO_CONTACTS | data)
        organization = Organization.objects.get(name="New")
        self.assertIsNone(organization.reference)
        self.assertEqual(organization.tax_id, "")

    def test_a_permission_without_view_does_not_count(self):
        user = create_user(
            "half",
            is_staff=True,
            permissions=["add_organization", "change_organization"],
        )
        self.client.force_login(user)
        self.assertEqual(self.client.get("/admin/").status_code, 200)
        for url in (LIST, f"{LIST}add/"):
            self.assertEqual(self.client.get(url).status_code, 403)
        own = self.request("get", get_url(self.own))
        missing = self.request("get", get_url(self.missing))
        self.assertEqual(own.status, missing.status)


class QueryCountTests(GateMixin, TestCase):
    """A commit that changes a number says why."""

    def setUp(self):
        super().setUp()
        # Django remembers the content types.
        self.client.get("/admin/")

    def become_admin_of(self, count):
        organizations = Organization.objects.bulk_create(
            Organization(name=f"Many {number}") for number in range(count)
        )
        self.user.groups.add(*(organization.admin for organization in organizations))

    def test_list_of_two_organizations_and_of_a_hundred(self):
        # Session, user, any organization, rows, permissions on these, their admins.
        with self.assertNumQueries(6):
            self.client.get(LIST)
        self.become_admin_of(98)
        with self.assertNumQueries(6):
            self.assertContains(self.client.get(LIST), "100 organizations")

    def test_change_page_for_an_admin_of_one_and_of_a_hundred(self):
        with self.assertNumQueries(5):  # session, user, permissions, row, contacts
            self.client.get(get_url(self.own))
        self.become_admin_of(99)
        with self.assertNumQueries(5):
            self.client.get(get_url(self.own))

    def test_saving_the_change_page(self):
        # Session, user, permissions, savepoint, row (locked), permissions again,
        # update, history, log and release. Then the session with the message, in a
        # savepoint.
        with self.assertNumQueries(13):
            self.client.post(
                get_url(self.own), NO_CONTACTS | {"name": "Own", "phone": "2"}
            )
