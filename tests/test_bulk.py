"""Giving a role in many organizations, replacing people, and ending access."""

import io
import time
from datetime import timedelta
from unittest import mock, skipUnless

from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test import TestCase, TransactionTestCase, override_settings, tag
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import strip_tags
from django_tasks_db.models import DBTaskResult
from python_calamine import CalamineWorkbook

from orgadmin.access.ends import find_start_of_next_day
from orgadmin.models import (
    AuditEvent,
    BulkJob,
    Invitation,
    Membership,
    MembershipEvent,
    Organization,
    User,
)
from orgadmin.people import bulk, bulk_jobs, outbox
from orgadmin.people.bulk import (
    EndAccess,
    GiveRole,
    PlanChanged,
    ReplacePerson,
    TooManyChanges,
    carry_out,
    make_plan,
)
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.membership import change_roles, find_role
from orgadmin.people.worker import delete_old, release_abandoned
from tests.factories import (
    ADMIN,
    REVIEWER,
    age_sign_in,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)
from tests.killing import END_LEASES
from tests.mailing import queues_mail, work
from tests.scratch import scratch_database
from tests.together import run_together

USERS = "/admin/orgadmin/user/"
LIST = "/admin/orgadmin/organization/"
GIVE = f"{USERS}bulk/give/"
REPLACE = f"{USERS}bulk/replace/"
END = f"{USERS}bulk/end/"


class BulkMixin:
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()
        cls.acme = create_organization("Acme", reference="A-1")
        cls.beta = create_organization("Beta, Inc.", reference="B-2")
        cls.gamma = create_organization("Gamma")
        cls.anna = create_user("anna", admin_of=[cls.acme], reviewer_of=[cls.beta])
        cls.bert = create_user("bert", reviewer_of=[cls.acme])
        cls.tom = create_user("tom", admin_of=[cls.beta])
        cls.tim = create_user("tim")
        cls.gone = create_user("gone", is_active=False)

    def setUp(self):
        self.client.force_login(self.root)

    def roles_of(self, user):
        found = {}
        for organization in Organization.objects.all():
            role = find_role(organization, user)
            if role is not None:
                found[organization.name] = role.key
        return found

    def preview(self, url, **data):
        response = self.client.post(url, {"preview": "1", **data})
        self.assertEqual(response.status_code, 200)
        return response

    def read_summary(self, response, name="summary"):
        """Return {"before > after": number} as the page shows it."""
        text = " ".join(strip_tags(response.content.decode()).split())
        found = {}
        for line in response.context[name]:
            before, after = (
                one.role.label if one is not None else "No role"
                for one in (line.before, line.after)
            )
            found[f"{before} > {after}"] = line.number
            if name == "summary":
                self.assertRegex(text, rf"{before} → ?becomes {after}")
        return found

    def confirm(self, url, response, **data):
        """Press the button of a preview, which sends what it has in hidden fields."""
        plan = response.context["plan"]
        posted = dict(response.context["posted"])
        return self.client.post(
            url,
            posted
            | {
                "confirmed": "1",
                "seen": plan.digest,
                "form_key": response.context["form_key"],
                **data,
            },
            follow=True,
        )


class GiveRoleTests(BulkMixin, TestCase):
    places = "A-1\nBeta, Inc.\n"

    def test_previews_and_then_gives_the_role(self):
        before = MembershipEvent.objects.count()
        response = self.preview(
            GIVE, who="bert", places=self.places, role="admin", reason="New team"
        )
        self.assertEqual(
            self.read_summary(response), {"Reviewer > Admin": 1, "No role > Admin": 1}
        )
        self.assertEqual(MembershipEvent.objects.count(), before)
        response = self.confirm(GIVE, response)
        self.assertContains(response, "2 roles were changed.")
        self.assertEqual(
            self.roles_of(self.bert), {"Acme": "admin", "Beta, Inc.": "admin"}
        )
        events = MembershipEvent.objects.filter(reason="New team")
        self.assertEqual(events.count(), 2)

    def test_offers_no_change_that_would_change_nothing(self):
        response = self.preview(GIVE, who="anna", places="A-1", role="admin")
        self.assertContains(response, "This would change nothing.")
        self.assertContains(response, "1 role stays as it is:")
        self.assertNotContains(response, "Nothing was changed yet.")
        self.assertNotContains(response, 'name="confirmed"')
        self.assertContains(response, "Export to Excel")
        response = self.preview(END, people="tim", what="roles")
        self.assertContains(response, "This would change nothing.")
        self.assertNotContains(response, "Export to Excel")

    def test_nobody_loses_a_role_that_permits_more(self):
        response = self.preview(
            GIVE, several="anna, bert", places=self.places, role="reviewer"
        )
        self.assertEqual(
            self.read_summary(response, "skipped_summary"),
            {"Admin > Admin": 1, "Reviewer > Reviewer": 2},
        )
        self.confirm(GIVE, response)
        self.assertEqual(self.roles_of(self.anna)["Acme"], "admin")

    def test_unclear_names_are_named_and_nothing_happens_until_they_are_left_out(self):
        twin = create_organization("Gamma")
        data = {"several": "bert\nnobody\ngone", "role": "admin"}
        data["places"] = "Acme\nGamma\nnowhere"
        response = self.preview(GIVE, **data)
        for text in (
            "There is no account with the name or address “nobody”.",
            "The account of “gone” is inactive.",
            f"“Gamma” may mean Gamma (#{self.gamma.pk}), Gamma (#{twin.pk}).",
            "There is no organization with the name or reference “nowhere”.",
            "4 names are not clear.",
        ):
            self.assertContains(response, text)
        self.assertNotIn("plan", response.context)
        response = self.preview(GIVE, **data, leave_out="on")
        self.assertContains(response, "4 names are left out")
        self.confirm(GIVE, response)
        self.assertEqual(self.roles_of(self.bert), {"Acme": "admin"})

    def test_a_name_in_another_case_or_a_number_is_clear(self):
        places = f"acme\n#{self.gamma.pk}"
        response = self.preview(GIVE, who="bert", places=places, role="admin")
        self.confirm(GIVE, response)
        self.assertEqual(self.roles_of(self.bert), {"Acme": "admin", "Gamma": "admin"})

    def test_a_name_that_only_looks_the_same_is_not_clear(self):
        response = self.preview(GIVE, who="bert", places="Аcme", role="admin")
        self.assertContains(response, f"may mean Acme (#{self.acme.pk})")

    def test_needs_people_and_organizations(self):
        response = self.preview(GIVE, role="admin")
        self.assertContains(response, "Enter a username or an email address.")
        self.assertContains(response, "Enter at least one organization.")
        response = self.preview(
            GIVE, who="nobody", places="Acme", role="admin", leave_out="on"
        )
        self.assertContains(response, "There is nothing left to change.")

    def test_an_action_of_the_list_takes_the_selected_organizations(self):
        data = {"action": "give_role", "_selected_action": [self.gamma.pk]}
        response = self.client.post(LIST, data)
        self.assertContains(response, "In 1 organization that you selected")
        self.assertContains(response, f'action="{GIVE}"')
        response = self.preview(
            GIVE, who="bert", role="admin", chosen=str(self.gamma.pk)
        )
        self.confirm(GIVE, response)
        self.assertEqual(self.roles_of(self.bert)["Gamma"], "admin")

    def test_an_action_takes_the_whole_list_as_it_is_filtered(self):
        data = {"action": "give_role", "_selected_action": [], "select_across": "1"}
        data["_selected_action"] = [self.acme.pk]
        with mock.patch("orgadmin.admin.base.ACTION_LIMIT", 1):
            response = self.client.post(f"{LIST}?q=a-1", data)
        self.assertContains(response, "In 1 organization that you selected")
        response = self.preview(GIVE, who="tom", role="admin", listed="?q=gamma")
        self.confirm(GIVE, response)
        self.assertEqual(
            self.roles_of(self.tom), {"Beta, Inc.": "admin", "Gamma": "admin"}
        )

    def test_edit_shows_the_form_again(self):
        response = self.preview(GIVE, who="bert", places="Acme", role="admin", edit="1")
        self.assertContains(response, 'value="bert"')
        self.assertNotIn("plan", response.context)

    def test_the_preview_can_be_downloaded(self):
        response = self.download("csv")
        text = b"".join(response.streaming_content).decode()
        self.assertIn(
            f"{self.bert.pk},bert,{self.acme.pk},Acme,A-1,reviewer,,admin,", text
        )
        event = AuditEvent.objects.latest("pk")
        self.assertEqual(event.details["content"], "role changes")

    def test_the_preview_can_be_downloaded_as_a_workbook(self):
        file = io.BytesIO(self.download("xlsx").getvalue())
        sheet = CalamineWorkbook.from_filelike(file).get_sheet_by_index(0)
        _header, row = sheet.to_python()
        keys = [str(self.bert.pk), "bert", str(self.acme.pk), "Acme", "A-1"]
        self.assertEqual(row[:5], keys)
        event = AuditEvent.objects.latest("pk")
        self.assertEqual(event.details["content"], "role changes")

    def download(self, kind):
        return self.preview(
            GIVE, who="bert", places="Acme", role="admin", download=kind
        )


class InviteManyTests(BulkMixin, TestCase):
    """Addresses without an account, and organizations by number."""

    def give(self, **data):
        places = f"{self.acme.pk}\n#{self.gamma.pk}"
        data = {"places": places, "role": "reviewer"} | data
        return self.preview(GIVE, **data)

    def test_previews_and_then_invites_to_each_organization(self):
        day = timezone.localdate() + timedelta(days=30)
        response = self.give(
            several="tom, new@example.com, NEW@example.com", until=day.isoformat()
        )
        self.assertEqual(self.read_summary(response), {"No role > Reviewer": 2})
        self.assertContains(response, "2 invitations are sent:")
        self.assertContains(response, "2 roles change:")
        self.assertFalse(Invitation.objects.exists())
        self.confirm(GIVE, response)
        found = Invitation.objects.order_by("organization")
        self.assertEqual(
            [(row.organization, row.email, row.role) for row in found],
            [
                (self.acme, "new@example.com", "reviewer"),
                (self.gamma, "new@example.com", "reviewer"),
            ],
        )
        self.assertTrue(all(row.membership_ends_at for row in found))
        self.assertEqual(self.roles_of(self.tom)["Gamma"], "reviewer")

    def test_invites_also_if_nobody_else_is_named(self):
        self.confirm(GIVE, self.give(who="new@example.com"))
        self.assertEqual(Invitation.objects.count(), 2)

    @tag("C32")
    def test_an_account_that_is_new_since_the_preview_is_shown_first(self):
        response = self.give(who="new@example.com")
        user = create_user("nora", email="new@example.com")
        user.verify_email()
        response = self.confirm(GIVE, response)
        self.assertContains(response, "something has changed in the meantime")
        self.assertFalse(Invitation.objects.exists())

    def test_nobody_is_invited_under_an_address_that_is_not_confirmed(self):
        create_user("nora", email="new@example.com")
        response = self.give(who="new@example.com")
        self.assertContains(response, "has not confirmed this address")

    def test_an_address_that_is_none_is_named(self):
        response = self.give(who="new@")
        self.assertContains(response, "There is no account with the name or address")

    def test_limits_how_many_are_sent(self):
        with mock.patch("orgadmin.admin.people.bulk_forms.INVITED_AT_ONCE", 1):
            response = self.give(who="new@example.com")
        self.assertContains(
            response, "2 invitations would be sent. You can send at most 1 at once."
        )

    def test_a_number_means_a_reference_or_a_name_first(self):
        named = create_organization(str(self.acme.pk))
        response = self.preview(
            GIVE, who="tom", places=str(self.acme.pk), role="reviewer"
        )
        [change] = response.context["plan"].changes
        self.assertEqual(change.organization, named)


class StalePreviewTests(BulkMixin, TestCase):
    @tag("C32")
    def test_a_change_since_the_preview_is_shown_before_anything_happens(self):
        response = self.preview(GIVE, who="bert", places="Acme", role="admin")
        set_role(self.acme, [self.bert], None)
        before = MembershipEvent.objects.count()
        response = self.confirm(GIVE, response)
        self.assertContains(response, "something has changed in the meantime")
        self.assertEqual(self.read_summary(response), {"No role > Admin": 1})
        self.assertEqual(MembershipEvent.objects.count(), before)
        self.confirm(GIVE, response)
        self.assertEqual(self.roles_of(self.bert), {"Acme": "admin"})

    @tag("C32")
    def test_an_organization_that_joins_the_list_is_shown_first(self):
        response = self.preview(GIVE, who="bert", role="admin", listed="?q=gamma")
        create_organization("Gamma Two")
        response = self.confirm(GIVE, response)
        self.assertContains(response, "something has changed in the meantime")
        self.assertNotIn("Gamma", self.roles_of(self.bert))

    @tag("C32")
    def test_someone_who_is_deactivated_or_deleted_gets_nothing(self):
        response = self.preview(GIVE, who="bert", places="Acme", role="admin")
        User.objects.filter(pk=self.bert.pk).update(is_active=False)
        self.assertContains(self.confirm(GIVE, response), "is inactive")
        self.assertEqual(self.roles_of(self.bert), {"Acme": "reviewer"})

    def test_a_new_name_of_an_organization_does_not_matter(self):
        response = self.preview(GIVE, who="bert", places="A-1", role="admin")
        self.acme.name = "Acme Ltd"
        self.acme.save()
        self.assertContains(self.confirm(GIVE, response), "1 role was changed.")

    def test_a_preview_is_confirmed_once(self):
        response = self.preview(GIVE, who="bert", places="Acme", role="admin")
        self.confirm(GIVE, response)
        self.assertContains(self.confirm(GIVE, response), "sent twice")

    @tag("C32")
    def test_nothing_happens_without_a_preview(self):
        data = {"who": "bert", "places": "Acme", "role": "admin", "confirmed": "1"}
        self.client.post(GIVE, data)
        self.assertEqual(self.roles_of(self.bert), {"Acme": "reviewer"})


class ReplacePersonTests(BulkMixin, TestCase):
    def test_all_roles_go_to_the_other_person(self):
        response = self.preview(REPLACE, old="anna", new="bert", ends="end")
        self.assertEqual(
            self.read_summary(response),
            {
                "Reviewer > Admin": 1,
                "No role > Reviewer": 1,
                "Admin > No role": 1,
                "Reviewer > No role": 1,
            },
        )
        self.confirm(REPLACE, response)
        self.assertEqual(self.roles_of(self.anna), {})
        self.assertEqual(
            self.roles_of(self.bert), {"Acme": "admin", "Beta, Inc.": "reviewer"}
        )

    def test_the_roles_can_stay(self):
        response = self.preview(REPLACE, old="anna", new="bert", ends="stay")
        self.confirm(REPLACE, response)
        self.assertEqual(self.roles_of(self.anna)["Acme"], "admin")
        self.assertEqual(self.roles_of(self.bert)["Acme"], "admin")

    def test_the_other_person_keeps_what_permits_more(self):
        response = self.preview(REPLACE, old="anna", new="tom", ends="end")
        self.confirm(REPLACE, response)
        self.assertEqual(
            self.roles_of(self.tom), {"Acme": "admin", "Beta, Inc.": "admin"}
        )

    def test_refuses_the_same_and_inactive_people(self):
        for new, text in (("anna", "Enter someone else."), ("gone", "is inactive.")):
            response = self.preview(REPLACE, old="anna", new=new, ends="end")
            self.assertContains(response, text)
            self.assertNotIn("plan", response.context)

    def test_a_link_names_the_person(self):
        response = self.client.get(REPLACE, {"old": f"#{self.anna.pk}"})
        self.assertContains(response, f'value="#{self.anna.pk}"')


class EndAccessTests(BulkMixin, TestCase):
    def test_offboards_people_once_someone_takes_over(self):
        data = {"people": "anna\ntom", "what": "offboard", "reason": "Left"}
        response = self.preview(END, **data)
        self.assertContains(response, "Who takes over?")
        response = self.confirm(END, response)
        self.assertContains(response, "Choose who takes over each organization")
        keys = f"{self.acme.pk} {self.beta.pk}"
        response = self.confirm(
            END, response, successor="bert", successor_organizations=keys
        )
        self.assertContains(response, "2 people were offboarded.")
        self.assertFalse(
            User.objects.filter(username__in=["anna", "tom"], is_active=True)
        )
        self.assertEqual(
            self.roles_of(self.bert), {"Acme": "admin", "Beta, Inc.": "admin"}
        )

    def test_mentions_no_roles_if_none_has_ended(self):
        response = self.preview(END, people="tim", what="offboard")
        response = self.confirm(END, response)
        self.assertContains(response, "1 person was offboarded.")
        self.assertNotContains(response, "0 roles")
        activity = self.client.get("/admin/all-activity/")
        self.assertNotContains(activity, "0 roles")

    def test_ends_roles_only(self):
        response = self.preview(END, people="bert", what="roles")
        self.confirm(END, response)
        self.assertEqual(self.roles_of(self.bert), {})
        self.assertTrue(User.objects.get(pk=self.bert.pk).is_active)

    def test_roles_end_with_a_successor(self):
        response = self.preview(END, people="anna", what="roles")
        self.confirm(
            END,
            response,
            successor="bert",
            successor_organizations=str(self.acme.pk),
        )
        self.assertEqual(self.roles_of(self.anna), {})
        self.assertEqual(self.roles_of(self.bert), {"Acme": "admin"})

    @tag("C11")
    def test_an_organization_stays_without_admin_only_if_it_is_ticked(self):
        response = self.preview(END, people="anna", what="roles")
        response = self.confirm(END, response)
        self.assertEqual(self.roles_of(self.anna)["Acme"], "admin")
        self.confirm(END, response, confirmed_organizations=str(self.acme.pk))
        self.assertEqual(self.roles_of(self.anna), {})

    def test_says_what_access_stays(self):
        self.bert.is_staff = True
        self.bert.save()
        response = self.preview(END, people="bert", what="roles")
        self.assertContains(response, "Delegated staff")

    @tag("C12")
    def test_nobody_ends_their_own_access(self):
        response = self.preview(END, people="root", what="offboard")
        self.assertContains(
            response, "“root” is your own account. Ask another superuser."
        )
        self.assertNotIn("plan", response.context)

    def test_names_are_unclear_unless_they_mean_one_person(self):
        pat = create_user("pat", email="pat@example.org")
        response = self.preview(END, people="nobody; pat@example.org", what="offboard")
        self.assertContains(response, "“nobody”")
        self.assertContains(response, f"enter #{pat.pk}.")
        pat.verify_email()
        response = self.preview(END, people="PAT@example.org", what="offboard")
        self.assertContains(response, "End access of 1 person")


class EndsTests(BulkMixin, TestCase):
    """Roles can end on a day."""

    @classmethod
    def setUpTestData(cls):
        super().setUpTestData()
        today = timezone.localdate(timezone=timezone.get_default_timezone())
        cls.soon = today + timedelta(days=10)
        cls.later = today + timedelta(days=20)

    def give_until(self, user, organization, role, day):
        at = find_start_of_next_day(day) if day is not None else None
        change_roles([RoleChange(user, organization, role, end=MembershipEnd(at))])

    def find_end(self, user, organization):
        rows = Membership.objects.filter(user=user, group__in=organization.group_ids)
        at = rows.get().ends_at
        return at and timezone.localdate(at - timedelta(seconds=1))

    def test_a_role_is_given_until_the_end_of_a_day(self):
        response = self.preview(
            GIVE, who="tom", places="Acme", role="admin", until=self.soon.isoformat()
        )
        self.assertContains(response, f"Admin until {date_format(self.soon)}")
        self.confirm(GIVE, response)
        self.assertEqual(self.find_end(self.tom, self.acme), self.soon)

    def test_giving_a_role_lets_none_end_earlier(self):
        for before, given, after in (
            (None, self.soon, None),
            (self.soon, self.later, self.later),
            (self.later, self.soon, self.later),
            (self.soon, None, None),
        ):
            with self.subTest(before=before, given=given):
                self.give_until(self.tom, self.acme, ADMIN, before)
                until = given.isoformat() if given is not None else ""
                response = self.preview(
                    GIVE, who="tom", places="Acme", role="admin", until=until
                )
                self.confirm(GIVE, response)
                self.assertEqual(self.find_end(self.tom, self.acme), after)

    def test_a_day_in_the_past_is_refused(self):
        response = self.preview(
            GIVE, who="tom", places="Acme", role="admin", until="2020-01-01"
        )
        self.assertContains(response, "Choose today or a later day.")
        self.assertNotIn("plan", response.context)

    def test_someone_else_gets_roles_with_their_ends(self):
        self.give_until(self.anna, self.acme, ADMIN, self.soon)
        response = self.preview(REPLACE, old="anna", new="tom", ends="stay")
        self.confirm(REPLACE, response)
        self.assertEqual(self.find_end(self.tom, self.acme), self.soon)

    def test_roles_end_on_a_day_unless_they_end_earlier(self):
        self.give_until(self.anna, self.beta, REVIEWER, self.soon)
        response = self.preview(
            END, people="anna", what="roles", until=self.later.isoformat()
        )
        self.assertNotContains(response, "Who takes over?")
        self.confirm(END, response)
        self.assertEqual(self.find_end(self.anna, self.acme), self.later)
        self.assertEqual(self.find_end(self.anna, self.beta), self.soon)

    def test_offboarding_takes_effect_at_once(self):
        response = self.preview(
            END, people="anna", what="offboard", until=self.later.isoformat()
        )
        self.assertContains(response, "Offboarding takes effect at once.")

    @tag("C32")
    def test_an_end_that_has_changed_since_the_preview_matters(self):
        response = self.preview(REPLACE, old="anna", new="tom", ends="stay")
        self.give_until(self.anna, self.acme, ADMIN, self.soon)
        response = self.confirm(REPLACE, response)
        self.assertContains(response, "something has changed in the meantime")

    @tag("C32")
    def test_a_role_that_has_ended_goes_to_nobody(self):
        self.give_until(self.anna, self.acme, ADMIN, self.soon)
        Membership.objects.filter(user=self.anna).update(
            ends_at=timezone.now() - timedelta(seconds=1)
        )
        response = self.preview(REPLACE, old="anna", new="tom", ends="stay")
        self.assertContains(response, "No role changes.")
        self.assertNotContains(response, 'name="confirmed"')


class CarryOutTests(BulkMixin, TestCase):
    def test_everything_or_nothing(self):
        change = GiveRole([self.bert], [self.acme, self.beta, self.gamma], ADMIN)
        seen = make_plan(change).digest
        with mock.patch("orgadmin.people.bulk.record", side_effect=PermissionDenied):
            with self.assertRaises(PermissionDenied):
                carry_out(change, actor=self.root, seen=seen)
        self.assertEqual(self.roles_of(self.bert), {"Acme": "reviewer"})

    @tag("C31")
    def test_only_those_who_may_assign_the_role(self):
        change = GiveRole([self.bert], [self.gamma], ADMIN)
        with self.assertRaises(PermissionDenied):
            carry_out(change, actor=self.anna, seen=make_plan(change).digest)

    def test_the_audit_log_has_the_numbers(self):
        change = GiveRole([self.bert, self.anna], [self.acme], ADMIN)
        carry_out(change, actor=self.root, seen=make_plan(change).digest)
        event = AuditEvent.objects.get(event="roles changed")
        self.assertEqual(
            event.details, {"kind": "give", "people": 2, "changed": 1, "skipped": 1}
        )

    def test_too_many_at_once_are_refused(self):
        change = GiveRole([self.bert, self.anna], [self.acme, self.beta], ADMIN)
        with mock.patch.object(bulk, "LIMIT", 3):
            with self.assertRaises(TooManyChanges):
                make_plan(change)
            response = self.preview(
                GIVE, several="anna,bert", places="A-1\nB-2", role="admin"
            )
            self.assertContains(response, "4 roles would change.")

    @queues_mail()
    @override_settings(NOTIFY_ADMINS=True)
    def test_everyone_gets_one_mail(self):
        changes = [
            GiveRole([self.bert], [self.beta, self.gamma], ADMIN),
            ReplacePerson(self.anna, self.tom, ends_old_roles=True),
            EndAccess([self.bert, self.tom], offboards=False),
        ]
        for change in changes:
            DBTaskResult.objects.all().delete()
            plan = make_plan(change)
            keys = [organization.pk for organization in plan.orphaned]
            carry_out(change, actor=self.root, seen=plan.digest, confirmed=keys)
            paths = DBTaskResult.objects.values_list("task_path", flat=True)
            names = sorted(path.rpartition(".")[2] for path in paths)
            self.assertEqual(names, ["tell_admins", "tell_members"])

    def test_the_number_of_queries_does_not_depend_on_that_of_organizations(self):
        organizations = [self.acme, self.beta, self.gamma]
        with self.assertNumQueries(23) as few:
            self.carry_out_for(organizations)
        set_role(self.beta, [self.bert], REVIEWER)
        organizations += [create_organization(f"More {n}") for n in range(20)]
        with self.assertNumQueries(len(few.captured_queries)):
            self.carry_out_for(organizations)

    def carry_out_for(self, organizations):
        change = GiveRole([self.bert], organizations, ADMIN)
        carry_out(change, actor=self.root, seen=make_plan(change).digest)

    def test_pages_take_as_many_queries_for_many_organizations(self):
        data = {"who": "bert", "role": "admin", "listed": "?q=more"}
        create_organization("More")
        with self.assertNumQueries(6) as few:
            self.preview(GIVE, **data)
        for number in range(20):
            create_organization(f"More {number}")
        with self.assertNumQueries(len(few.captured_queries)):
            self.preview(GIVE, **data)


@skipUnless(connection.vendor == "postgresql", "SQLite has one writer at a time")
class ConcurrencyTests(TransactionTestCase):
    def test_two_superusers_replace_and_end_at_the_same_time(self):
        root = create_superuser()
        organizations = [create_organization(f"No {n}") for n in range(5)]
        anna = create_user("anna", admin_of=organizations)
        bert = create_user("bert")
        replacing = ReplacePerson(anna, bert, ends_old_roles=True)
        ending = EndAccess([anna], offboards=False)
        seen_first = make_plan(replacing).digest
        seen_second = make_plan(ending).digest
        keys = [organization.pk for organization in organizations]
        outcomes = run_together(
            lambda: self.try_to(replacing, actor=root, seen=seen_first),
            lambda: self.try_to(ending, actor=root, seen=seen_second, confirmed=keys),
        )
        self.assertCountEqual(outcomes, [True, False])
        self.assertFalse(anna.groups.exists())
        self.assertIn(bert.groups.count(), (0, 5))

    def try_to(self, change, **options):
        try:
            carry_out(change, **options)
        except PlanChanged:
            return False
        return True


class Killed(BaseException):
    """A worker is killed."""


@queues_mail()
class JobTests(BulkMixin, TestCase):
    """A worker makes changes that take long."""

    def setUp(self):
        super().setUp()
        patch = mock.patch.object(bulk_jobs, "MAX_ROLES_AT_ONCE", 1)
        patch.start()
        self.addCleanup(patch.stop)

    def start(self, **data):
        data = {"who": "tom", "places": "A-1\nGamma", "role": "admin"} | data
        response = self.confirm(GIVE, self.preview(GIVE, **data))
        return BulkJob.objects.get(), response

    def test_shows_progress_and_the_result(self):
        job, response = self.start(reason="New team")
        self.assertContains(response, "2 roles are being changed.")
        self.assertContains(response, 'http-equiv="refresh"')
        self.assertContains(response, "No worker is running")
        self.assertEqual(self.roles_of(self.tom), {"Beta, Inc.": "admin"})
        work()
        response = self.client.get(f"{USERS}bulk/jobs/{job.pk}/")
        self.assertContains(response, "2 roles were changed.")
        self.assertNotContains(response, 'http-equiv="refresh"')
        self.assertEqual(len(self.roles_of(self.tom)), 3)
        self.assertEqual(MembershipEvent.objects.filter(reason="New team").count(), 2)
        self.assertContains(self.client.get(GIVE), f"{USERS}bulk/jobs/{job.pk}/")
        job.refresh_from_db()
        self.assertEqual(job.order, {})

    @tag("C32")
    def test_a_change_before_the_worker_begins_is_refused(self):
        job, _response = self.start()
        set_role(self.acme, [self.tom], REVIEWER)
        work()
        response = self.client.get(f"{USERS}bulk/jobs/{job.pk}/")
        self.assertContains(response, "Something has changed since you saw the preview")
        self.assertEqual(self.roles_of(self.tom)["Acme"], "reviewer")
        self.assertNotIn("Gamma", self.roles_of(self.tom))

    @tag("C32")
    def test_an_outdated_preview_starts_nothing(self):
        response = self.preview(GIVE, who="tom", places="A-1\nGamma", role="admin")
        set_role(self.acme, [self.tom], REVIEWER)
        response = self.confirm(GIVE, response)
        self.assertContains(response, "something has changed in the meantime")
        self.assertFalse(BulkJob.objects.exists())

    @tag("C31")
    def test_nothing_happens_for_someone_who_is_no_superuser_by_then(self):
        create_superuser("other")
        job, _response = self.start()
        User.objects.filter(pk=self.root.pk).update(is_superuser=False)
        work()
        job.refresh_from_db()
        self.assertEqual(job.refusal, "You are no longer platform staff.")
        self.assertNotIn("Gamma", self.roles_of(self.tom))

    def test_is_started_once(self):
        response = self.preview(GIVE, who="tom", places="A-1\nGamma", role="admin")
        self.confirm(GIVE, response)
        self.confirm(GIVE, response)
        self.assertEqual(BulkJob.objects.count(), 1)

    def test_a_worker_that_is_killed_leaves_nothing_half_done(self):
        job, _response = self.start()
        for place in (
            "orgadmin.people.bulk.change_roles",
            "orgadmin.people.bulk.record",
        ):
            with self.subTest(place=place):
                with mock.patch(place, side_effect=Killed), self.assertRaises(Killed):
                    work()
                self.assertEqual(self.roles_of(self.tom), {"Beta, Inc.": "admin"})
                DBTaskResult.objects.update(started_at="2026-01-01 00:00Z")
                release_abandoned()
        work()
        job.refresh_from_db()
        self.assertEqual(job.state, "done")
        self.assertEqual(len(self.roles_of(self.tom)), 3)

    def test_a_task_that_runs_again_after_the_commit_does_nothing(self):
        job, _response = self.start()
        work()
        set_role(self.acme, [self.tom], None)
        outbox.enqueue(bulk_jobs.run_bulk_change, job=job.pk)
        work()
        self.assertNotIn("Acme", self.roles_of(self.tom))

    def test_other_kinds_are_stored_and_made_as_they_were(self):
        for change in (
            ReplacePerson(self.anna, self.bert, ends_old_roles=True),
            EndAccess([self.anna, self.tom], offboards=True),
            GiveRole([self.bert], [self.gamma, self.acme], REVIEWER),
            GiveRole([self.bert], [self.gamma], ADMIN, timezone.now()),
        ):
            rebuilt = bulk_jobs.deserialize_change(bulk_jobs.serialize_change(change))
            self.assertEqual(rebuilt, change)
            self.assertEqual(make_plan(rebuilt).digest, make_plan(change).digest)

    def test_offboards_with_successors(self):
        response = self.preview(END, people="anna, tom", what="offboard")
        keys = f"{self.acme.pk} {self.beta.pk}"
        self.confirm(END, response, successor="bert", successor_organizations=keys)
        work()
        self.assertEqual(len(self.roles_of(self.bert)), 2)
        self.assertFalse(User.objects.get(pk=self.anna.pk).is_active)

    def test_finished_jobs_are_deleted_after_a_while(self):
        job, _response = self.start()
        work()
        BulkJob.objects.update(finished_at="2026-01-01 00:00Z")
        delete_old()
        self.assertFalse(BulkJob.objects.exists())


# A bulk change of 300 roles that waits for a worker.
START_JOB = """
from orgadmin.access.roles import ADMIN
from orgadmin.models import Organization, User
from orgadmin.people import bulk_jobs
from orgadmin.people.bulk import GiveRole, make_plan
from tests.mailing import queues_mail

root = User.objects.create_superuser("root")
mary = User.objects.create_user("mary")
rows = [Organization(name=f"No {n}") for n in range(300)]
change = GiveRole([mary], Organization.objects.bulk_create(rows), ADMIN)
with queues_mail():
    seen = make_plan(change).digest
    bulk_jobs.start(change, actor=root, number=300, seen=seen)
"""
WORK = """
from orgadmin.people.worker import Worker
from tests.mailing import queues_mail

with queues_mail():
    Worker().run(once=True)
"""
READ_JOB = """
from orgadmin.models import BulkJob, Membership, MembershipEvent

job = BulkJob.objects.get()
print(job.state, Membership.objects.count(), MembershipEvent.objects.count())
"""


class KilledWorkerTests(TransactionTestCase):
    def test_each_change_is_made_once_or_not_at_all(self):
        with scratch_database() as database:
            database.run(START_JOB)
            for pause in (0.05, 0.1, 0.2, 0.3):
                worker = database.start(WORK)
                time.sleep(pause)
                worker.kill()
                worker.communicate()
                state, *numbers = database.run(READ_JOB).split()
                expected = "300" if state == "done" else "0"
                self.assertEqual(numbers, [expected, expected])
                database.run(END_LEASES)
            database.run(WORK)
            self.assertEqual(database.run(READ_JOB).split(), ["done", "300", "300"])


@tag("C31")
class ClosedTests(BulkMixin, TestCase):
    """For everyone but superusers, the pages do not exist."""

    def test_answer_like_a_missing_page(self):
        BulkJob.objects.create(pk=1, actor_key=self.root.pk, kind="give", number=1)
        delegate = create_user(
            "delegate",
            is_staff=True,
            permissions=["view_user", "change_user", "add_user", "view_organization"],
        )
        for user in (self.anna, self.bert, delegate):
            self.client.force_login(user)
            for kind in ("give", "replace", "end", "jobs/1"):
                for method in (self.client.get, self.client.post):
                    with self.subTest(user=user, kind=kind, method=method.__name__):
                        found = method(f"{USERS}bulk/{kind}/", {"who": "bert"})
                        missing = method(f"{USERS}bulk/nothing/", {"who": "bert"})
                        self.assertEqual(found.status_code, missing.status_code)
                        self.assertEqual(
                            found["Location"],
                            missing["Location"].replace("nothing", kind),
                        )

    def test_no_action_is_offered(self):
        for user in (self.anna, self.bert):
            self.client.force_login(user)
            self.assertNotContains(self.client.get(LIST), "give_role")
            data = {"action": "give_role", "_selected_action": [self.acme.pk]}
            for across in ("0", "1"):
                response = self.client.post(LIST, data | {"select_across": across})
                self.assertNotContains(
                    response, "chosen in the list", status_code=response.status_code
                )

    def test_nothing_is_given_by_someone_who_signed_in_a_while_ago(self):
        data = {"who": "bert", "places": "Acme", "role": "admin"}
        response = self.preview(GIVE, **data)
        age_sign_in(self.client, 11)
        seen = response.context["plan"].digest
        data |= {"confirmed": "1", "seen": seen}
        response = self.client.post(GIVE, data)
        self.assertContains(response, "Your password")
        self.assertEqual(self.roles_of(self.bert), {"Acme": "reviewer"})
        self.client.post(GIVE, data | {"step-up-password": "secret"})
        self.assertEqual(self.roles_of(self.bert), {"Acme": "admin"})

    def test_only_superusers_are_led_to_them(self):
        self.assertContains(self.client.get(USERS), GIVE)
        delegate = create_user("delegate", is_staff=True, permissions=["view_user"])
        self.client.force_login(delegate)
        self.assertNotContains(self.client.get(USERS), "bulk/")
