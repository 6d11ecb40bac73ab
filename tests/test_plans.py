"""What the databases do for each page, with 100,000 organizations.

No query of an org admin reads through a large table.
"""

import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from unittest import skipUnless

from django.contrib.auth.models import Group
from django.db import connection
from django.test import TestCase
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from benchmarks.rows import (
    hours_ago,
    insert_organizations,
    make_words,
    run,
)
from orgadmin.models import (
    AccessReview,
    AuditEvent,
    Contact,
    Invitation,
    Organization,
    User,
)
from orgadmin.models.organization import is_incomplete
from orgadmin.people.ends import loses_last_admin
from orgadmin.people.find_namesakes import find_named_members
from orgadmin.records.search import OTHER_SCANS

from .factories import create_organization, create_superuser, create_user

COUNT = 100_000
EVENT_COUNT = 20_000
PEOPLE_COUNT = 20_000
LIST = "/admin/orgadmin/organization/"
CONTACTS = "/admin/orgadmin/contact/"
SEARCH = "/admin/search/"
ALL_ACTIVITY = [
    "/admin/all-activity/",
    "/admin/all-activity/?before=99999-99999-99999-99999-99999-99999",
]
CHOICES = "/admin/autocomplete/?app_label=orgadmin"

LARGE_TABLES = {
    "auth_group",
    "orgadmin_organization",
    "orgadmin_user_groups",
    "orgadmin_organizationgroupobjectpermission",
    "orgadmin_organizationuserobjectpermission",
    "orgadmin_historicalorganization",
    "orgadmin_contact",
    "orgadmin_membershipevent",
    "django_admin_log",
    "orgadmin_auditevent",
    "orgadmin_accessrequest",
    "orgadmin_reviewsection",
}

# Counts the rows of a table, and stops at the limit of lists.
COUNT_TO_LIMIT = (
    r"SELECT COUNT\(\*\) FROM "
    r'\(SELECT "\w+"."id" AS "col1" FROM "\w+"'
    # Few organizations are archived.
    r'( WHERE \(?NOT \(EXISTS\(SELECT 1 .*"archived_at" IS NOT NULL.* LIMIT 1\)+)?'
    r" LIMIT 10001\) subquery"
)

# What other people have and did in each organization. Parameters: the id of the first
# of a thousand users, and the id of the first organization.
MEMBERSHIPS = """
    INSERT INTO orgadmin_user_groups (group_id, user_id)
    SELECT organization.admin_id, %s + organization.id %% 1000
    FROM orgadmin_organization organization
    WHERE organization.id >= %s
"""
GRANTS = """
    INSERT INTO orgadmin_organizationuserobjectpermission
        (content_object_id, permission_id, user_id)
    SELECT
        organization.id,
        (SELECT id FROM auth_permission WHERE codename = 'view_organization'),
        %s + organization.id %% 1000
    FROM orgadmin_organization organization
    WHERE organization.id >= %s
"""
EVENTS = """
    INSERT INTO orgadmin_membershipevent
        (organization_key, organization_name, event, user_name, role, actor_name,
        reason, at, user_key)
    SELECT organization.id, '', 'joined', '', 'admin', '', '', CURRENT_TIMESTAMP,
        %s + organization.id %% 1000
    FROM orgadmin_organization organization
    WHERE organization.id >= %s
"""
LOG_ENTRIES = """
    INSERT INTO django_admin_log
        (object_id, object_repr, action_flag, change_message, action_time,
        content_type_id, user_id)
    SELECT CAST(organization.id AS text), '', 2, '', CURRENT_TIMESTAMP,
        (SELECT id FROM django_content_type WHERE model = 'organization'),
        %s + organization.id %% 1000
    FROM orgadmin_organization organization
    WHERE organization.id >= %s
"""
REQUESTS = """
    INSERT INTO orgadmin_accessrequest
        (organization_id, user_id, organization_name, role, reason, asked_at, outcome,
        answer, decided_at)
    SELECT organization.id, %s + organization.id %% 1000, '', 'admin', '',
        CURRENT_TIMESTAMP, 'declined', '', CURRENT_TIMESTAMP
    FROM orgadmin_organization organization
    WHERE organization.id >= %s
"""
# Few of them wait for an answer. Parameters: the id of a review, and the id of the
# first organization.
SECTIONS = """
    INSERT INTO orgadmin_reviewsection
        (review_id, organization_key, organization_name, items_total, open_items)
    SELECT %s, id, '', 1, CASE WHEN id %% 100 = 0 THEN 1 ELSE 0 END
    FROM orgadmin_organization
    WHERE id >= %s
"""
CONTACT_OF_EACH = """
    INSERT INTO orgadmin_contact
        (organization_id, name, sort_name, role, email, phone)
    SELECT id, 'Ada', 'ada', '', '', ''
    FROM orgadmin_organization
"""


# Most organizations have two admins and lack nothing, and are old. Parameters: a time,
# the same one, and the id of the first organization.
VARIETY = """
    UPDATE orgadmin_organization
    SET phone = '1',
        address = 'Road 1',
        tax_id = CASE WHEN id %% 50 = 0 THEN '' ELSE 'T' END,
        active_admins = CASE
            WHEN id %% 100 = 0 THEN 0
            WHEN id %% 20 = 0 THEN 1
            ELSE 2
        END,
        admins_end_at = CASE
            WHEN id %% 100 = 0 THEN NULL
            WHEN id %% 10 = 0 THEN {end}
        END,
        created_at = {ago},
        changed_at = {ago}
    WHERE id >= %s
"""
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def switch_triggers_off():
    """Write faster on PostgreSQL until the transaction ends."""
    if connection.vendor == "postgresql":
        # Otherwise, foreign keys are checked with plans for small tables, which read a
        # whole index for each row.
        run("ANALYZE")
        run("SET CONSTRAINTS ALL IMMEDIATE")
        for table in ("user_groups", "contact", "organization"):
            run(f"ALTER TABLE orgadmin_{table} DISABLE TRIGGER USER")


def find_scans(sql):
    """Return the large tables that the database reads through to answer a query.

    Counting to the limit does not count: it stops there.
    """
    if re.fullmatch(COUNT_TO_LIMIT, sql):
        return set()
    if connection.vendor == "sqlite":
        scanned = find_scans_in_sqlite(sql)
    else:
        scanned = find_scans_in_postgresql(sql)
    return scanned & LARGE_TABLES


def skip_columns(sql):
    """Return a query from its FROM on. Its columns may have subqueries."""
    depth = 0
    for position, character in enumerate(sql):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0 and sql.startswith(" FROM ", position):
            return sql[position:]
    return sql


def find_scans_in_sqlite(sql):
    plan = "\n".join(row[3] for row in read_rows(f"EXPLAIN QUERY PLAN {sql}"))
    is_selected = " WHERE " in skip_columns(sql) or plan.count("SCAN ") > 1
    reads_in_order = not is_selected and "TEMP B-TREE" not in plan
    if reads_in_order and re.search(r"LIMIT (10|16|40|101)$", sql):
        # It reads the first rows in the order of their keys, and stops.
        return set()
    # The plan names aliases where the query has them.
    tables = find_tables(sql)
    scanned = set()
    for name in re.findall(r"SCAN (\w+)(?! USING (?:COVERING )?INDEX)\b", plan):
        scanned |= tables.get(name, {name})
    return scanned


def find_tables(sql):
    """Return {alias: tables}. Two subqueries may use one alias for different tables."""
    tables = defaultdict(set)
    alias = r'(?:FROM|JOIN)\s+"?(\w+)"?\s+(?:AS\s+)?"?(\w+)"?'
    for table, name in re.findall(alias, sql):
        tables[name].add(table)
    return tables


def find_statement(sql):
    """Return the statement itself if settings were sent together with it."""
    statement = sql.strip()
    if "set_config(" not in statement:
        return statement
    parts = [part.strip() for part in statement.split(";")]
    [selects] = [part for part in parts if "set_config(" not in part]
    return selects


def find_scans_in_postgresql(sql):
    is_similarity = " <% " in sql
    if is_similarity:
        # The search allows nothing but the trigram index for this query.
        run(OTHER_SCANS.format(state="off"))
    plan = "\n".join(row[0] for row in read_rows(f"EXPLAIN {sql}"))
    if is_similarity:
        run(OTHER_SCANS.format(state="on"))
    return set(re.findall(r"Seq Scan on (\w+)", plan))


def read_rows(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def insert_audit_events():
    now = timezone.now()
    AuditEvent.objects.bulk_create(
        AuditEvent(
            event="signed in" if number % 200 else "exported",
            user_key=number % 1_000,
            user_name=f"user {number % 1_000}",
            actor_key=number % 1_000,
            at=now - timedelta(minutes=EVENT_COUNT - number),
            position=number + 1,
        )
        for number in range(EVENT_COUNT)
    )


class PlanCase(TestCase):
    def setUp(self):
        super().setUp()
        if connection.vendor == "postgresql":
            # For a disk without a moving head, as docs/scale.md recommends. With the
            # default, plans depend on the order in which earlier tests left free space.
            run("SET LOCAL random_page_cost = 1.1")

    def assert_reads_no_large_table(self, user, paths):
        self.client.force_login(user)
        for path in paths:
            # The first request fills Django's cache of content types.
            self.client.get(path)
            with CaptureQueriesContext(connection) as queries:
                response = self.client.get(path)
                if response.streaming:
                    response.getvalue()
            self.assertEqual(response.status_code, 200, path)
            for query in queries:
                sql = find_statement(query["sql"])
                if sql.startswith(("SELECT", "(SELECT")):
                    self.assertEqual(find_scans(sql), set(), sql)


class PlanTests(PlanCase):
    @classmethod
    def setUpTestData(cls):
        make_words()
        first = insert_organizations(COUNT)
        pks = Organization.objects.order_by("pk").values_list("pk", flat=True)
        thousand = list(pks[:: COUNT // 1_000])
        # A number of five digits: a shorter one is in too many names for an index.
        cls.own = Organization.objects.get(pk=thousand[505])
        cls.ten = create_user(
            "ten", admin_of=Organization.objects.filter(pk__in=thousand[500:510])
        )
        cls.thousand = create_user(
            "thousand", admin_of=Organization.objects.filter(pk__in=thousand)
        )
        cls.reviewer = create_user("reviewer", reviewer_of=[cls.own])
        cls.root = create_superuser()
        # A thousand other people with a hundred memberships each.
        users = User.objects.bulk_create(
            User(username=f"user {number}") for number in range(1_000)
        )
        switch_triggers_off()
        for statement in (MEMBERSHIPS, GRANTS, EVENTS, LOG_ENTRIES, REQUESTS):
            run(statement, users[0].pk, first)
        run(CONTACT_OF_EACH)
        review = AccessReview.objects.create(
            scope="all", due_on=timezone.localdate(), prepared_at=timezone.now()
        )
        run(SECTIONS, review.pk, first)
        insert_audit_events()
        cls.vary_organizations(first)
        run("ANALYZE")

    @classmethod
    def vary_organizations(cls, first):
        """Change the data so that each filter finds a few of the organizations."""
        end = hours_ago("24 - id % 10000".replace("%", "%%"))
        run(VARIETY.format(ago="%s", end=end), LONG_AGO, LONG_AGO, first)
        if connection.vendor == "sqlite":
            # A trigger has noted the change.
            run("UPDATE orgadmin_organization SET changed_at = created_at")
        recent = Organization.objects.order_by("-pk")[:100]
        for organization in recent:
            run(
                "UPDATE orgadmin_organization SET created_at = %s, changed_at = %s"
                " WHERE id = %s",
                timezone.now(),
                timezone.now(),
                organization.pk,
            )
        sent = [timezone.now(), LONG_AGO]
        Invitation.objects.bulk_create(
            Invitation(
                organization=organization,
                email="a@example.com",
                role="admin",
                sent_at=sent[number % 2],
            )
            for number, organization in enumerate(recent)
        )

    def test_the_test_sees_a_scan(self):
        self.assertEqual(
            find_scans("SELECT * FROM orgadmin_organization WHERE notes = 'x'"),
            {"orgadmin_organization"},
        )
        self.assertEqual(
            find_scans("SELECT * FROM orgadmin_organization renamed WHERE notes = 'x'"),
            {"orgadmin_organization"},
        )
        if connection.vendor == "postgresql":
            granted = """
                id IN (
                    SELECT content_object_id
                    FROM orgadmin_organizationuserobjectpermission
                    WHERE user_id = 1
                )
            """
            sql = f"SELECT * FROM orgadmin_organization WHERE {granted} OR {granted}"
            self.assertIn("orgadmin_organization", find_scans(sql))

    def test_pages_of_org_admins_and_reviewers(self):
        shared = [
            LIST,
            f"{LIST}?q=muller+7",
            f"{LIST}?o=-1",
            f"{LIST}?o=2",
            f"{LIST}?after={self.own.pk}",
            f"{LIST}export/",
            f"{LIST}{self.own.pk}/change/",
            f"{LIST}{self.own.pk}/history/",
            CONTACTS,
            "/admin/",
            *ALL_ACTIVITY,
            f"{SEARCH}?q=muller",
            f"{SEARCH}?q=gmbh",
            f"{SEARCH}?q={self.own.pk}",
        ]
        of_admins = [
            *shared,
            f"{LIST}{self.own.pk}/people/",
            f"{LIST}{self.own.pk}/people/?suggest=user",
            f"{LIST}{self.own.pk}/ledger/",
            f"{LIST}{self.own.pk}/access/",
            f"{CHOICES}&model_name=contact&field_name=organization&term=a",
        ]
        self.assert_reads_no_large_table(self.ten, of_admins)
        self.assert_reads_no_large_table(self.reviewer, shared)
        if connection.vendor == "postgresql":
            # For a disk without a moving head, as docs/scale.md recommends.
            run("SET LOCAL random_page_cost = 1.1")
        self.assert_reads_no_large_table(self.thousand, of_admins)

    def test_pages_of_platform_staff(self):
        near_the_end = Organization.objects.order_by("sort_name", "pk")[COUNT - 500]
        group = Group.objects.order_by("name")[50_000]
        person = User.objects.get(username="user 500")
        self.assert_reads_no_large_table(
            self.root,
            [
                LIST,
                f"{LIST}?p=90",
                f"{LIST}?o=-1",
                f"{LIST}?o=2",
                f"{LIST}?o=-2",
                f"{LIST}?after={near_the_end.pk}",
                f"{LIST}{self.own.pk}/change/",
                f"{LIST}{self.own.pk}/history/",
                f"{LIST}{self.own.pk}/people/",
                f"{LIST}{self.own.pk}/ledger/",
                f"{LIST}{self.own.pk}/access/",
                "/admin/auth/group/",
                f"/admin/auth/group/{group.pk}/change/",
                f"{CHOICES}&model_name=user&field_name=groups",
                "/admin/orgadmin/user/",
                f"/admin/orgadmin/user/{person.pk}/change/",
                f"/admin/orgadmin/user/{person.pk}/overview/",
                f"/admin/orgadmin/user/{person.pk}/organizations/",
                f"/admin/orgadmin/user/{person.pk}/access/",
                f"/admin/orgadmin/user/{person.pk}/activity/",
                "/admin/orgadmin/membershipevent/",
                CONTACTS,
                "/admin/",
                *ALL_ACTIVITY,
                f"{SEARCH}?q=ab",
                f"{SEARCH}?q={self.own.name[:6]}",
            ],
        )

    def list_filtered(self):
        """Return the addresses of the list with each filter and in each order."""
        recently = timezone.now() - timedelta(days=3)
        queries = [
            "admins=none",
            "admins=one",
            "admins=ending",
            "incomplete=1",
            "invitations=pending",
            "waiting=requests",
            "waiting=review",
            "invitations=expired",
            f"changed_since={recently:%Y-%m-%d}",
            f"created_since={recently:%Y-%m-%d}",
            "changed_since=2000-01-01",
            "created_since=2000-01-01",
            "o=-name",
            "o=reference",
            "o=created",
            "o=-created",
            "o=changed",
            "o=-changed",
            "admins=none&o=-changed",
        ]
        return [f"{LIST}?{query}" for query in queries]

    def test_filters_and_orders_of_platform_staff(self):
        self.assert_reads_no_large_table(self.root, self.list_filtered())
        for query in ("o=created", "o=-changed", "o=-name"):
            self.client.force_login(self.root)
            page = self.client.get(f"{LIST}?{query}&p=100").context["cl"]
            self.assert_reads_no_large_table(self.root, [f"{LIST}{page.next_string}"])

    def test_filters_and_orders_of_org_admins(self):
        self.assert_reads_no_large_table(self.ten, self.list_filtered())
        self.assert_reads_no_large_table(self.reviewer, self.list_filtered())

    def test_filters_of_people(self):
        queries = [
            "status=active",
            "status=inactive",
            "status=cannot-sign-in",
            "status=never",
            "role=superuser",
            "role=staff",
            "role=admin",
            "role=reviewer",
        ]
        people = "/admin/orgadmin/user/"
        self.assert_reads_no_large_table(
            self.root, [f"{people}?{query}" for query in queries]
        )

    @skipUnless(connection.vendor == "sqlite", "PostgreSQL decides by its statistics.")
    def test_the_rule_reads_memberships_from_an_index_alone(self):
        organizations = Organization.objects.permitted(self.ten)
        plan = organizations.explain()
        self.assertIn("COVERING INDEX membership_of_user", plan)

    def test_filters_use_their_indexes(self):
        organizations = Organization.objects.unarchived()
        for name, queryset in {
            "unarchived_no_admin": organizations.filter(active_admins=0),
            "unarchived_one_admin": organizations.filter(active_admins=1),
            "unarchived_incomplete": organizations.filter(is_incomplete()),
            "unarchived_admins_end": organizations.filter(
                loses_last_admin(timezone.now() + timedelta(days=30))
            ),
            "unarchived_changed": organizations.order_by("-changed_at", "-pk"),
            "unarchived_created": organizations.order_by("-created_at", "-pk"),
            "unarchived_sort_name": organizations,
            "organization_archived": Organization.objects.archived().order_by(
                "-archived_at", "-pk"
            ),
        }.items():
            self.assertIn(name, queryset[:101].explain())

    def test_names_that_look_alike_are_found_by_the_index(self):
        plan = Organization.objects.order_by().filter(name_key="acme").explain()
        self.assertIn("organization_name_key", plan)

    def test_search_by_the_trigram_index(self):
        if connection.vendor != "postgresql":
            self.skipTest("SQLite has no trigram index: it reads through the names.")
        self.assertEqual(Contact.objects.count(), COUNT)
        word = self.own.name.split()[-1]
        self.assert_reads_no_large_table(
            self.root,
            [
                f"{LIST}?q=zzqqxx",
                f"{LIST}?q={word}",
                f"{SEARCH}?q=zzqqxx",
                f"{SEARCH}?q={word}",
                f"{SEARCH}?q=gmbh",
                f"{SEARCH}?q={self.own.name[1:6]}",
                f"/admin/auth/group/?q={word}",
                f"{CHOICES}&model_name=user&field_name=groups&term={word}",
            ],
        )


class PeoplePlanTests(PlanCase):
    """The filters of the list of people, if most people do not have a role."""

    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()
        cls.acme = acme = create_organization()
        people = User.objects.bulk_create(
            User(username=f"user {number}", is_active=number % 5 != 0)
            for number in range(PEOPLE_COUNT)
        )
        memberships = User.groups.through
        memberships.objects.bulk_create(
            memberships(user=person, group=group)
            for group, some in (
                (acme.admin, people[:: PEOPLE_COUNT // 40]),
                (acme.reviewer, people[7 :: PEOPLE_COUNT // 20]),
            )
            for person in some
        )
        run("ANALYZE")

    def test_filters_begin_with_those_who_hold_roles(self):
        self.client.force_login(self.root)
        if connection.vendor == "postgresql":
            # For a disk without a moving head, as docs/scale.md recommends.
            run("SET LOCAL random_page_cost = 1.1")
        for query, number in {
            "role=reviewer": 20,
            "role=admin": 40,
            "status=cannot-sign-in": 40,
        }.items():
            with CaptureQueriesContext(connection) as queries:
                page = self.client.get(f"/admin/orgadmin/user/?{query}")
            self.assertEqual(page.context["cl"].result_count, number, query)
            filtered = [
                sql["sql"] for sql in queries if "orgadmin_roleholder" in sql["sql"]
            ]
            self.assertTrue(filtered)
            if connection.vendor == "postgresql":
                for sql in filtered:
                    plan = "\n".join(row[0] for row in read_rows(f"EXPLAIN {sql}"))
                    self.assertNotIn("Seq Scan on orgadmin_user ", plan)
                    # It looks up each holder, and does not look for holders among all.
                    self.assertIn("orgadmin_user_pkey", plan)

    @skipUnless(connection.vendor == "postgresql", "SQLite has no such plans.")
    def test_names_are_compared_among_members(self):
        run("SET LOCAL random_page_cost = 1.1")
        member = self.acme.reviewer.user_set.all()[0]
        User.objects.filter(pk=member.pk).update(first_name="Ada")
        with CaptureQueriesContext(connection) as queries:
            find_named_members([member.pk], [self.acme])
        [query] = queries
        plan = "\n".join(row[0] for row in read_rows(f"EXPLAIN {query['sql']}"))
        self.assertNotIn("Seq Scan on orgadmin_user ", plan)


class AuditLogPlanTests(PlanCase):
    """The pages of the audit log, with events of a thousand people."""

    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()
        insert_audit_events()
        run("ANALYZE")

    def test_no_page_reads_the_whole_log(self):
        log = "/admin/orgadmin/auditevent/"
        queries = [
            "",
            "?p=50",
            "?event=exported",
            "?event=imported",
            "?since=2026-01-01&until=2026-01-02",
            "?event=exported&since=2026-01-01&until=2026-01-02",
            "?q=user+7",
            "?q=7",
            "?q=nobody",
        ]
        paths = [log + query for query in queries]
        user = f"/admin/orgadmin/user/{self.root.pk}/"
        paths += ["/admin/activity/", f"{user}activity/"]
        self.assert_reads_no_large_table(self.root, paths)
