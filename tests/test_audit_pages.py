"""The pages of the audit log."""

import csv
import io
from datetime import datetime, timedelta
from unittest import mock

from django.db import connection
from django.test import TestCase, TransactionTestCase, override_settings, tag
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orgadmin.access import audit_log
from orgadmin.access.audit_log import SecurityEvent, record_all
from orgadmin.admin.audit_log import describe_details
from orgadmin.models import AuditEvent
from orgadmin.records.csv_files import BYTE_ORDER_MARK
from tests.auditing import write, write_typed_name
from tests.factories import create_organization, create_superuser, create_user

LOG = "/admin/orgadmin/auditevent/"
ACTIVITY = "/admin/activity/"


def read_csv(response):
    text = response.getvalue().decode().removeprefix(BYTE_ORDER_MARK)
    return list(csv.DictReader(io.StringIO(text)))


class ListTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser("root")
        cls.anna = create_user("anna", email="anna@example.com")
        cls.zoe = create_user("zoe")

    def setUp(self):
        self.client.force_login(self.root)

    def list_rows(self, **query):
        response = self.client.get(LOG, query)
        self.assertEqual(response.status_code, 200, query)
        return list(response.context["cl"].result_list)

    @tag("G4")
    def test_is_for_superusers(self):
        acme = create_organization()
        manager = ["view_user", "change_user", "view_auditevent"]
        for user in (
            create_user("admin", admin_of=[acme]),
            create_user("manager", is_staff=True, permissions=manager),
        ):
            self.client.force_login(user)
            for url in (LOG, f"{LOG}export/"):
                with self.subTest(user=user, url=url):
                    self.assertEqual(self.client.get(url).status_code, 403)

    def test_is_called_as_in_the_navigation(self):
        self.assertContains(self.client.get(LOG), "<h1>Audit log</h1>")
        page = self.client.get("/admin/orgadmin/membershipevent/")
        self.assertContains(page, "<h1>Membership log</h1>")

    def test_leaves_out_details_that_are_empty(self):
        event = AuditEvent(details={"method": "password", "factor": "", "rows": 0})
        event.personal = {"names": []}
        self.assertEqual(describe_details(event), "method: password; rows: 0")

    @tag("G2")
    def test_nobody_can_add_change_or_delete_an_event(self):
        event = AuditEvent.objects.first()
        for url in (f"{LOG}add/", f"{LOG}{event.pk}/delete/"):
            self.assertEqual(self.client.get(url).status_code, 403, url)
            response = self.client.post(url, {"post": "yes"})
            self.assertEqual(response.status_code, 403, url)
        change = f"{LOG}{event.pk}/change/"
        self.assertEqual(self.client.post(change, {"user_key": 7}).status_code, 403)
        self.assertNotContains(self.client.get(change), 'name="_save"')

    def test_searches_for_a_person_as_the_one_concerned_and_the_one_who_acts(self):
        write(SecurityEvent.PASSWORD_CHANGED, user=self.anna, actor=self.zoe)
        write(SecurityEvent.PASSWORD_CHANGED, user=self.zoe, actor=self.anna)
        write(SecurityEvent.PASSWORD_CHANGED, user=self.root, actor=self.root)
        for query in ("anna", " anna ", "ANNA@example.com", str(self.anna.pk)):
            with self.subTest(query):
                rows = self.list_rows(q=query)
                people = {(row.user_key, row.actor_key) for row in rows}
                self.assertEqual(
                    people,
                    {
                        (self.anna.pk, None),
                        (self.anna.pk, self.zoe.pk),
                        (self.zoe.pk, self.anna.pk),
                    },
                )

    def test_searches_for_deleted_accounts_and_names_without_an_account(self):
        write(SecurityEvent.EXPORTED, actor=self.zoe)
        self.zoe.delete()
        write_typed_name("nobody")
        events = [row.event for row in self.list_rows(q="zoe")]
        self.assertIn(SecurityEvent.EXPORTED, events)
        self.assertIn(SecurityEvent.USER_DELETED, events)
        [row] = self.list_rows(q="nobody")
        self.assertEqual(row.event, SecurityEvent.SIGN_IN_FAILED)

    @tag("F2")
    def test_odd_searches_find_nothing(self):
        for query in ("\0", "ann", "9" * 30, "x" * 5_000, "-1", "%"):
            with self.subTest(query):
                found = self.list_rows(q=query)
                everything = query.strip("\0") == ""
                self.assertEqual(bool(found), everything)

    def test_filters_by_event(self):
        write(SecurityEvent.EXPORTED, actor=self.root)
        [row] = self.list_rows(event="exported")
        self.assertEqual(row.event, SecurityEvent.EXPORTED)
        self.assertGreater(len(self.list_rows(event="nothing")), 1)

    def test_filters_by_days(self):
        AuditEvent.objects.all()
        for day in (1, 2, 3):
            at = timezone.make_aware(datetime(2026, 3, day, 23, 59))
            AuditEvent.objects.create(event="exported", at=at)
        self.assertEqual(len(self.list_rows(since="2026-03-02", event="exported")), 2)
        self.assertEqual(len(self.list_rows(until="2026-03-02", event="exported")), 2)
        rows = self.list_rows(since="2026-03-02", until="2026-03-02")
        self.assertEqual([row.at.day for row in rows], [2])

    @tag("F5", "F6")
    def test_explains_days_that_are_none(self):
        for value in ("x", "0001-01-01", "9999-12-31", "2026-02-30", "1" * 500):
            for name in ("since", "until"):
                with self.subTest(value=value, name=name):
                    response = self.client.get(LOG, {name: value})
                    self.assertContains(response, "is not a date. Write it like 2")
                    self.assertEqual(response.context["cl"].chips, [])
                    response = self.client.get(f"{LOG}export/", {name: value})
                    self.assertEqual(response.status_code, 400)

    @tag("A9")
    def test_no_other_lookup_is_accepted(self):
        for lookup in (
            "user_name__startswith",
            "at__gte",
            "at__year",
            "since__gte",
            "details__x",
            "personal__old_email",
            "hash",
        ):
            with self.subTest(lookup):
                changelist = self.client.get(LOG, {lookup: "1"}).context["cl"]
                self.assertNotIn("WHERE", str(changelist.queryset.query))
                self.assertEqual(changelist.get_query_string(), "?")

    def test_keeps_the_other_filters_when_days_are_chosen(self):
        response = self.client.get(LOG, {"event": "exported", "q": "anna"})
        self.assertContains(
            response, '<input type="hidden" name="event" value="exported">', html=True
        )
        self.assertContains(
            response, '<input type="hidden" name="q" value="anna">', html=True
        )

    def test_shows_what_a_later_release_recorded(self):
        AuditEvent.objects.create(event="of the future")
        self.assertContains(self.client.get(LOG), "of the future")

    def test_escapes_what_people_typed(self):
        AuditEvent.objects.create(
            event=SecurityEvent.SIGN_IN_FAILED,
            user_name="<b>x</b>",
            details={"x": "<b>x</b>"},
        )
        self.assertNotContains(self.client.get(LOG), "<b>x</b>")

    def test_runs_as_many_queries_for_many_events(self):
        record_all(SecurityEvent.EXPORTED, [None] * 150)
        # Session, user, a page of rows, and the count because there is another page.
        with self.assertNumQueries(4):
            self.client.get(LOG)
        # Two queries for the person, and no count.
        with self.assertNumQueries(5):
            self.client.get(LOG, {"q": "anna", "since": "2026-01-01"})

    def test_no_query_counts_the_whole_log(self):
        with CaptureQueriesContext(connection) as queries:
            self.client.get(LOG, {"_facets": "True"})
        for query in queries:
            if "COUNT(" in query["sql"]:
                self.assertIn("LIMIT 10001", query["sql"])


class ExportTests(TransactionTestCase):
    def setUp(self):
        self.root = create_superuser("root")
        self.client.force_login(self.root)

    def export(self, **query):
        return self.client.get(f"{LOG}export/", query)

    @tag("G3")
    def test_ends_with_the_record_of_the_export_itself(self):
        rows = read_csv(self.export())
        last = AuditEvent.objects.order_by("position").last()
        self.assertEqual(last.event, SecurityEvent.EXPORTED)
        self.assertEqual(last.actor_key, self.root.pk)
        self.assertEqual(last.details, {"content": "audit log", "filters": []})
        self.assertEqual(rows[-1]["hash"], last.hash)
        positions = [int(row["position"]) for row in rows]
        self.assertEqual(positions, list(range(1, last.position + 1)))

    @tag("G2")
    def test_the_file_is_enough_to_verify_the_chain(self):
        create_user("anna", is_staff=True)
        previous_hash = ""
        for row in read_csv(self.export()):
            event = AuditEvent.objects.get(position=row["position"])
            event.at = datetime.fromisoformat(row["at"])
            self.assertEqual(row["hash"], audit_log.compute_hash(event, previous_hash))
            previous_hash = row["hash"]

    def test_has_the_rows_of_the_list(self):
        create_user("anna")
        write_typed_name("nobody")
        rows = read_csv(self.export(q="nobody"))
        self.assertEqual([row["event"] for row in rows], ["sign-in failed"])
        rows = read_csv(self.export(event="user created"))
        self.assertEqual([row["person"] for row in rows], ["root", "anna"])
        self.assertEqual(self.export(user_key="1").status_code, 400)

    def test_reads_one_batch_at_a_time(self):
        record_all(SecurityEvent.EXPORTED, [None] * 50)
        with mock.patch.object(audit_log, "BATCH", 10):
            response = self.export()
            with CaptureQueriesContext(connection) as queries:
                rows = read_csv(response)
        self.assertGreater(len(rows), 50)
        self.assertEqual(len(queries), 6)
        for query in queries:
            self.assertIn("LIMIT 10", query["sql"])


@override_settings(ACCESS_CONTACT="help@example.com")
class ActivityTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser("root-of-all")
        cls.anna = create_user("anna", email="anna@example.com")
        cls.zoe = create_user("zoe")

    def setUp(self):
        self.client.force_login(self.anna)

    def list_rows(self, url=ACTIVITY):
        response = self.client.get(url)
        return [
            (str(row.text), row.by, row.network)
            for row in response.context["page"].object_list
        ]

    @tag("G4")
    def test_shows_what_happened_to_the_own_account(self):
        write(SecurityEvent.SIGNED_IN, user=self.anna, actor=self.anna)
        write(SecurityEvent.SIGN_IN_FAILED, user=self.anna)
        write(SecurityEvent.FACTOR_REMOVED, user=self.anna, actor=self.root)
        write(SecurityEvent.PASSWORD_CHANGED, user=self.anna, network="", request_id="")
        self.assertEqual(
            self.list_rows()[:4],
            [
                ("password changed", "Platform staff", ""),
                ("second factor removed", "Platform staff", ""),
                ("sign-in failed", "", "192.0.2.0/24"),
                ("signed in", "You", "192.0.2.0/24"),
            ],
        )

    @tag("G4")
    def test_shows_neither_events_of_others_nor_what_is_not_about_the_account(self):
        before = self.list_rows()
        write(SecurityEvent.SIGNED_IN, user=self.zoe, actor=self.zoe)
        write(SecurityEvent.PASSWORD_CHANGED, user=self.zoe, actor=self.anna)
        write_typed_name("anna")
        write(SecurityEvent.EXPORTED, actor=self.anna)
        write(SecurityEvent.EXPORTED, user=self.anna, actor=self.anna)
        self.assertEqual(self.list_rows(), before)

    @tag("G4")
    def test_never_names_platform_staff_or_their_network(self):
        write(
            SecurityEvent.PASSWORD_CHANGED,
            user=self.anna,
            actor=self.root,
            network="198.51.100.0/24",
        )
        response = self.client.get(ACTIVITY)
        self.assertNotContains(response, "root-of-all")
        self.assertNotContains(response, "198.51.100")

    def test_is_for_everyone_who_is_signed_in(self):
        for user in (self.anna, self.root, create_user("nobody")):
            self.client.force_login(user)
            self.assertContains(self.client.get(ACTIVITY), "help@example.com")
        self.client.logout()
        response = self.client.get(ACTIVITY)
        self.assertRedirects(response, f"/admin/login/?next={ACTIVITY}")

    def test_is_linked_from_the_account_page(self):
        self.client.force_login(self.root)
        self.assertContains(self.client.get("/admin/account/"), f'href="{ACTIVITY}"')

    def test_has_pages_and_runs_as_many_queries_for_many_events(self):
        record_all(SecurityEvent.SIGNED_IN, [self.anna] * 150)
        # Session, user, whether the person may enter (two), the count, and a page.
        with self.assertNumQueries(6):
            self.assertEqual(len(self.list_rows()), 100)
        self.assertEqual(len(self.list_rows(f"{ACTIVITY}?p=2")), 51)

    def test_superusers_see_the_events_of_a_person_with_names(self):
        self.client.force_login(self.root)
        zoe = create_superuser("zoe-too")
        write(SecurityEvent.PASSWORD_CHANGED, user=self.anna, actor=zoe)
        page = f"/admin/orgadmin/user/{self.anna.pk}/"
        self.assertEqual(
            self.list_rows(f"{page}activity/")[0],
            ("password changed", "zoe-too", "192.0.2.0/24"),
        )
        self.assertContains(self.client.get(f"{page}change/"), f"{page}activity/")

    @tag("G4")
    def test_user_managers_do_not_see_the_events_of_a_person(self):
        permissions = ["view_user", "change_user"]
        manager = create_user("manager", is_staff=True, permissions=permissions)
        self.client.force_login(manager)
        page = f"/admin/orgadmin/user/{self.anna.pk}/"
        for shown in ("overview", "change"):
            response = self.client.get(f"{page}{shown}/")
            self.assertNotContains(response, f"{page}activity/")
        response = self.client.get(f"{page}activity/")
        self.assertRedirects(response, "/admin/", fetch_redirect_response=False)

    def test_dates_are_in_the_time_zone_of_the_site(self):
        at = timezone.now() - timedelta(days=1)
        AuditEvent.objects.create(event="signed in", user_key=self.anna.pk, at=at)
        self.assertContains(self.client.get(ACTIVITY), "Signed in")
