"""Rows with a role that this release does not know.

During an upgrade, the new release can store such rows while the previous one still
serves requests. They also remain after a role was removed.
"""

import re
from contextlib import suppress
from datetime import timedelta
from io import StringIO
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import Group
from django.core import mail
from django.core.exceptions import PermissionDenied
from django.core.management import call_command
from django.test import SimpleTestCase, TestCase, override_settings, tag
from django.urls import reverse
from django.utils import timezone

from orgadmin.access.membership_log import Event
from orgadmin.access.roles import PERMISSIONS, ROLES, get_role
from orgadmin.models import (
    AccessRequest,
    BulkJob,
    ImportPart,
    Invitation,
    Membership,
    MembershipEvent,
    ReviewDecision,
    ReviewItem,
    ReviewScope,
)
from orgadmin.models.access_request import Outcome
from orgadmin.people import (
    invitations,
    mail as role_mail,
    outbox,
    request_mail,
    review_items,
)
from orgadmin.people.access_requests import make_link
from orgadmin.people.bulk_jobs import run_bulk_change
from orgadmin.people.invitations import InviterLostAccess
from orgadmin.people.membership import find_role, may_assign
from orgadmin.people.provider_groups import apply_groups
from orgadmin.people.reviews import start_review
from orgadmin.people.worker import PERIODIC
from tests.factories import (
    ADMIN,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    run_doctor,
    set_role,
)
from tests.mailing import keep_connection, queues_mail, send_invitation, work
from tests.test_import_undo import UndoCase
from tests.test_reviews import PROVIDER

APP = Path(settings.BASE_DIR, "orgadmin")

UNKNOWN = "guest"


class GetRoleTests(SimpleTestCase):
    def test_returns_the_roles_of_the_table(self):
        for role in ROLES:
            self.assertIs(get_role(role.key), role)

    def test_shows_an_unknown_role_by_its_key(self):
        self.assertEqual(get_role(UNKNOWN).label, UNKNOWN)
        self.assertIs(get_role(UNKNOWN), get_role(UNKNOWN))

    def test_nobody_may_assign_an_unknown_role_and_no_role_includes_it(self):
        self.assertFalse(may_assign(PERMISSIONS, get_role(UNKNOWN)))
        for role in ROLES:
            self.assertFalse(role.includes(get_role(UNKNOWN)))

    def test_stored_keys_are_not_looked_up_in_the_table(self):
        # In these files, the keys come from the settings, from choices, or were
        # checked.
        allowed = {
            "accounts/widgets.py",
            "access/roles.py",
            "admin/organizations/people.py",
            "admin/people/lists.py",
            "gate/explain.py",
            "management/demo.py",
            "management/demo_story.py",
            "people/provider_groups.py",
            "records/doctor/doctor.py",
            "records/imports/people_columns.py",
            "records/imports/undo.py",
        }
        found = {
            path.relative_to(APP).as_posix()
            for path in APP.rglob("*.py")
            if "ROLES_BY_KEY[" in path.read_text()
        }
        self.assertEqual(found - allowed, set(), "Use get_role() for stored keys.")


class UnknownRoleCase(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme", reference="R-1")
        self.root = create_superuser("root", email="root@example.com")
        self.anna = create_user("anna", admin_of=[self.acme], email="anna@example.com")
        self.bert = create_user(
            "bert", reviewer_of=[self.acme], email="bert@example.com"
        )
        for user in (self.root, self.anna, self.bert):
            user.verify_email()

    def log(self, event, user=None, role=UNKNOWN, **values):
        return MembershipEvent.objects.create(
            event=event,
            user_key=user.pk if user else None,
            user_name=user.username if user else "new@example.com",
            organization_key=self.acme.pk,
            organization_name=self.acme.name,
            role=role,
            actor_key=self.anna.pk,
            actor_name=self.anna.username,
            **values,
        )

    def invite(self, email="new@example.com", **values):
        values.setdefault("invited_by", self.root)
        return self.acme.invitations.create(email=email, role=UNKNOWN, **values)

    def ask(self, user, **values):
        return AccessRequest.objects.create(
            organization=self.acme,
            organization_name=self.acme.name,
            user=user,
            role=UNKNOWN,
            **values,
        )


class PageTests(UnknownRoleCase):
    """Whatever only shows a role shows the key of an unknown one."""

    def setUp(self):
        super().setUp()
        self.carl = create_user("carl", email="carl@example.com")
        self.carl.verify_email()
        # A member of the unknown role's group, of which this release knows nothing.
        group = Group.objects.create(name="Acme Guest")
        Membership.objects.create(user=self.carl, group=group)
        now = timezone.now()
        self.log(Event.JOINED, self.carl, "reviewer")
        self.log(Event.JOINED, self.carl)
        self.log(Event.JOINED, self.bert)
        self.log(Event.JOINED, self.bert, "reviewer", source=PROVIDER.id)
        self.log(Event.JOINED, self.anna, ends_at=now + timedelta(days=3))
        self.log(Event.END_CHANGED, self.anna, ends_at=now + timedelta(days=9))
        self.log(Event.LEFT, self.anna)
        self.log(Event.JOINED, self.anna, "admin")
        self.log(Event.INVITED)
        self.log(Event.REVOKED)
        self.invitation = self.invite()
        self.invite("carl@example.com")
        self.invite("old@example.com", sent_at=now - timedelta(days=30))
        make_link(self.acme, actor=self.anna)
        self.ask(self.carl)
        self.ask(self.bert, outcome=Outcome.DECLINED, decided_at=now)
        with override_settings(OIDC_PROVIDERS=[PROVIDER]):
            self.reviewed = self.review()
        BulkJob.objects.create(
            actor_key=self.root.pk, kind="give", order={"role": UNKNOWN}, number=1
        )

    def review(self):
        """Start a review with items and decisions about an unknown role."""
        review = start_review(
            ReviewScope.ALL, due_on=timezone.localdate() + timedelta(days=20)
        )
        review_items.prepare(review.pk)
        section = review.sections.get(organization_key=self.acme.pk)
        items = [
            ReviewItem(
                section=section,
                key=f"guest {user.pk} {path}",
                path=path,
                user_key=user.pk,
                user_name=user.username,
                organization_key=self.acme.pk,
                role=UNKNOWN,
            )
            for user in (self.anna, self.bert, self.carl)
            for path in ("member", "provider")
        ]
        ReviewItem.objects.bulk_create(items)
        decided = section.items.get(key=f"guest {self.bert.pk} member")
        ReviewDecision.objects.create(
            item=decided,
            answer="changed",
            role_before=UNKNOWN,
            role="reviewer",
            actor_key=self.anna.pk,
            actor_name="anna",
        )
        return review

    def list_urls(self):
        pages = ["overview", "change", "contacts", "people", "requests", "ledger"]
        pages += ["access", "history", "review", "delete"]
        people = ["overview", "organizations", "access", "activity", "leave"]
        people += ["export", "erase", "history", "delete"]
        reviews = ["overview", "other_access", "evidence", "change"]
        lists = ["organization", "user", "membershipevent", "auditevent"]
        urls = [reverse("admin:index"), "/admin/?feed=all"]
        urls += [reverse(f"admin:orgadmin_{name}_changelist") for name in lists]
        for model, names, keys in (
            ("organization", pages, [self.acme.pk]),
            ("user", people, [self.anna.pk, self.bert.pk, self.carl.pk]),
            ("accessreview", reviews, [self.reviewed.pk]),
        ):
            urls += [
                reverse(f"admin:orgadmin_{model}_{name}", args=[key])
                for name in names
                for key in keys
            ]
        people_page = reverse("admin:orgadmin_organization_people", args=[self.acme.pk])
        for name in ("revoke", "correct"):
            urls.append(f"{people_page}?{name}={self.invitation.pk}")
        for user in (self.anna, self.bert):
            for name in ("change", "end", "remove"):
                urls.append(f"{people_page}?{name}={user.pk}")
        request_page = reverse(
            "admin:orgadmin_organization_requests", args=[self.acme.pk]
        )
        asked = AccessRequest.objects.get(user=self.carl)
        urls.append(f"{request_page}?request={asked.pk}")
        for name in ("organization_export", "user_export_list", "auditevent_export"):
            urls.append(reverse(f"admin:orgadmin_{name}"))
        ledger = reverse("admin:orgadmin_organization_ledger", args=[self.acme.pk])
        day = timezone.localdate().isoformat()
        urls += [f"{ledger}?on={day}", f"{ledger}?csv", f"{ledger}?xlsx"]
        urls.append(f"{ledger}?on={day}&csv")
        job = BulkJob.objects.get()
        urls.append(reverse("admin:orgadmin_user_bulk_job", args=[job.pk]))
        return urls

    def assert_works(self, url):
        response = self.client.get(url, follow=True)
        self.assertIn(response.status_code, (200, 403), url)
        if response.streaming:
            list(response.streaming_content)
        return response

    def test_of_superusers_work(self):
        self.client.force_login(self.root)
        for url in self.list_urls():
            with self.subTest(url=url):
                self.assertEqual(self.assert_works(url).status_code, 200)

    def test_of_members_work(self):
        for user in (self.anna, self.bert, self.carl):
            self.client.force_login(user)
            for url in [*self.list_urls(), "/admin/account/"]:
                with self.subTest(user=user.username, url=url):
                    self.assert_works(url)

    def test_show_the_key(self):
        self.client.force_login(self.anna)
        for name in ("people", "requests", "ledger", "review"):
            url = reverse(f"admin:orgadmin_organization_{name}", args=[self.acme.pk])
            with self.subTest(name=name):
                self.assertContains(self.client.get(url), UNKNOWN)
        home = self.client.get(reverse("admin:index"))
        self.assertContains(home, "guest → Reviewer")

    def test_commands_work(self):
        status, text = run_doctor()
        self.assertEqual((status, UNKNOWN in text), (0, False), text)
        run_doctor("--fix")
        self.assertFalse(MembershipEvent.objects.filter(event=Event.FOUND).exists())
        self.log(Event.JOINED, self.bert, source=PROVIDER.id)
        out = StringIO()
        with suppress(SystemExit):
            call_command("explain", "bert", str(self.acme.pk), stdout=out)
        self.assertIn("bert", out.getvalue())

    def test_periodic_work_of_the_worker_works(self):
        Membership.objects.filter(user=self.carl).update(ends_at=timezone.now())
        with queues_mail(), keep_connection():
            for periodic in PERIODIC:
                with self.subTest(work=periodic.work):
                    periodic.work()

    def test_reviews_end(self):
        type(self.reviewed).objects.update(
            ends_access=True, due_on=timezone.localdate() - timedelta(days=1)
        )
        with queues_mail(), keep_connection():
            for periodic in PERIODIC:
                periodic.work()
        self.client.force_login(self.root)
        for name in ("overview", "other_access", "evidence"):
            self.assert_works(
                reverse(f"admin:orgadmin_accessreview_{name}", args=[self.reviewed.pk])
            )


@override_settings(NOTIFY_PEOPLE=True, NOTIFY_ADMINS=True)
class MailTests(UnknownRoleCase):
    def test_names_the_role_by_its_key(self):
        declined = self.ask(self.bert, outcome=Outcome.DECLINED)
        asked = self.ask(self.root)
        invitation = self.invite()
        keys = {"organization": self.acme.pk, "person": self.bert.pk}
        changes = [
            {**keys, "role": UNKNOWN, "previous": "reviewer"},
            {**keys, "role": "reviewer", "previous": UNKNOWN},
        ]
        told = {"changes": changes, "more": 0, "actor": self.anna.pk}
        tasks = [
            (role_mail.tell_member, {"user": self.bert.pk, **told}),
            (role_mail.tell_admin, {"user": self.anna.pk, **told}),
            (
                role_mail.tell_inviter,
                {
                    "user": self.anna.pk,
                    "person": self.bert.pk,
                    "organization": self.acme.pk,
                    "role": UNKNOWN,
                },
            ),
            (
                request_mail.tell_admin_of_request,
                {"request": asked.pk, "user": self.anna.pk},
            ),
            (
                request_mail.tell_declined,
                {"request": declined.pk, "user": self.bert.pk},
            ),
        ]
        with queues_mail():
            for task, values in tasks:
                outbox.enqueue(task, **values)
            send_invitation(invitation)
            work()
        self.assertEqual(len(mail.outbox), len(tasks) + 1)
        for message in mail.outbox:
            self.assertIn(UNKNOWN, message.body)


class RefusalTests(UnknownRoleCase):
    """Nothing grants an unknown role, or accepts an offer of one."""

    def test_an_invitation_cannot_be_accepted(self):
        for user in (self.bert, create_user("dora", email="dora@example.com")):
            invitation = self.invite(user.email)
            before = find_role(self.acme, user)
            with self.subTest(user=user.username):
                with self.assertRaises(InviterLostAccess):
                    invitations.accept(invitation, user, account_is_unused=False)
                self.assertIs(find_role(self.acme, user), before)
                self.assertTrue(Invitation.objects.filter(pk=invitation.pk).exists())

    def test_the_page_of_an_invitation_says_so(self):
        invitation = self.invite("bert@example.com")
        url = reverse("invitation", args=[invitation.make_token()])
        self.client.force_login(self.bert)
        self.assertContains(self.client.get(url), UNKNOWN)
        response = self.client.post(url, {"accept": ""}, follow=True)
        self.assertContains(response, "can no longer give you this role")

    @tag("C4")
    def test_an_invitation_cannot_be_sent_again_or_revoked(self):
        invitation = self.invite()
        url = reverse("admin:orgadmin_organization_people", args=[self.acme.pk])
        for user in (self.root, self.anna):
            self.client.force_login(user)
            for data in (
                {"resend": "1"},
                {"revoke": ""},
                {"correct": "", "email": "right@example.com"},
            ):
                with self.subTest(user=user.username, data=data):
                    data = {"invitation": invitation.pk, **data}
                    self.assertEqual(self.client.post(url, data).status_code, 403)
        self.assertEqual(Invitation.objects.get().email, "new@example.com")
        with self.assertRaises(PermissionDenied):
            invitations.invite(
                self.acme, "a@example.com", get_role(UNKNOWN), actor=self.root
            )

    def test_an_invitation_is_revoked_with_the_role_of_its_person(self):
        self.invite("bert@example.com")
        set_role(self.acme, [self.bert], ADMIN, actor=self.root)
        # Nothing says that an admin has all permissions of the unknown role.
        self.assertTrue(Invitation.objects.exists())
        set_role(self.acme, [self.bert], None, actor=self.root)
        self.assertFalse(Invitation.objects.exists())
        revoked = MembershipEvent.objects.get(event=Event.REVOKED)
        self.assertEqual(revoked.role, UNKNOWN)

    def test_a_bulk_change_is_refused(self):
        order = {
            "change": {
                "kind": "give",
                "users": [self.bert.pk],
                "organizations": [self.acme.pk],
                "role": UNKNOWN,
                "ends_at": None,
            },
            "seen": "",
            "reason": "",
            "confirmed": [],
            "successors": [],
        }
        job = BulkJob.objects.create(
            actor_key=self.root.pk, kind="give", order=order, number=1
        )
        with queues_mail():
            outbox.enqueue(run_bulk_change, job=job.pk)
            work()
        job.refresh_from_db()
        self.assertEqual(job.state, BulkJob.State.REFUSED)
        self.assertIn("Something has changed", job.refusal)
        self.assertIs(find_role(self.acme, self.bert), REVIEWER)

    def test_groups_of_a_provider_replace_it(self):
        carl = create_user("carl")
        self.log(Event.JOINED, carl, source=PROVIDER.id)
        apply_groups(carl, PROVIDER, ["staff"])
        self.assertIs(find_role(self.acme, carl), REVIEWER)

    def test_a_request_preselects_another_role(self):
        asked = self.ask(create_user("carl"))
        self.client.force_login(self.anna)
        url = reverse("admin:orgadmin_organization_requests", args=[self.acme.pk])
        response = self.client.get(f"{url}?request={asked.pk}")
        checked = re.findall(r'value="(\w+)"[^>]*\bchecked', response.text)
        self.assertEqual(checked, ["reviewer"])
        data = {"request": asked.pk, "role": UNKNOWN, "approve": ""}
        self.client.post(url, data)
        self.assertIsNone(find_role(self.acme, asked.user))


class ImportTests(UndoCase):
    def setUp(self):
        super().setUp()
        self.import_file()
        self.store_unknown("before")

    def store_unknown(self, name):
        """Replace the stored roles: "role" that was given, or "before"."""
        changes = ImportPart.objects.get(kind=ImportPart.Kind.CHANGES)
        items = changes.read_items()
        for item in items:
            for role in item["roles"]:
                role[name] = UNKNOWN
        changes.content = ImportPart.pack(items)
        changes.save()

    def test_an_undo_does_not_restore_an_unknown_role(self):
        self.assertIs(find_role(self.acme, self.anna), REVIEWER)
        self.undo()
        self.assertIs(find_role(self.acme, self.anna), REVIEWER)

    def test_the_page_of_an_import_shows_the_key_of_an_unknown_role(self):
        self.store_unknown("role")
        self.assertContains(self.client.get(self.url), "undo", status_code=200)
        url = reverse("admin:orgadmin_import_overview", args=[self.stored.pk])
        self.assertContains(self.client.get(url), UNKNOWN)
