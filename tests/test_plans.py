"""What the databases do for a page: at 100,000 organizations, no plan of an org admin's reads a large table through."""

import re

from django.contrib.auth.models import Group
from django.db import connection
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

from benchmarks.rows import insert_organizations, make_words, run
from orgadmin.models import (
    Contact,
    Organization,
    OrganizationUserObjectPermission,
    User,
)

from .factories import create_superuser, create_user

COUNT = 100_000
LIST = "/admin/orgadmin/organization/"
LARGE = {
    "auth_group",
    "orgadmin_organization",
    "orgadmin_user_groups",
    "orgadmin_organizationgroupobjectpermission",
    "orgadmin_organizationuserobjectpermission",
    "orgadmin_historicalorganization",
    "orgadmin_contact",
    "orgadmin_membershipevent",
    "django_admin_log",
}


def find_scans(sql):
    """Return the large tables that the database would read through to answer a query. Counting rows to a limit, where
    every row counts, ends there."""
    if re.fullmatch(
        r'SELECT COUNT\(\*\) FROM \(SELECT "\w+"\."id" AS "col1" FROM "\w+" LIMIT 10001\) subquery',
        sql,
    ):
        return set()
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
            plan, tables = (
                "\n".join(row[3] for row in cursor.fetchall()),
                r"SCAN (\w+)(?! USING (?:COVERING )?INDEX)\b",
            )
            if (
                re.search(r"LIMIT (10|101)$", sql)
                and " WHERE " not in sql
                and "TEMP B-TREE" not in plan
            ):
                return set()  # in the order of its keys, up to the limit
        else:
            cursor.execute(f"EXPLAIN {sql}")
            plan, tables = (
                "\n".join(row[0] for row in cursor.fetchall()),
                r"Seq Scan on (\w+)",
            )
    return {name for name in re.findall(tables, plan) if name in LARGE}


class PlanTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        make_words()
        first = insert_organizations(COUNT)
        pks = list(
            Organization.objects.order_by("pk").values_list("pk", flat=True)[
                :: COUNT // 1_000
            ]
        )
        cls.own = Organization.objects.get(pk=pks[5])
        cls.ten = create_user(
            "ten", admin_of=Organization.objects.filter(pk__in=pks[:10])
        )
        cls.thousand = create_user(
            "thousand", admin_of=Organization.objects.filter(pk__in=pks)
        )
        cls.reviewer = create_user("reviewer", reviewer_of=[cls.own])
        cls.root = create_superuser()
        # What others have: a thousand people with a hundred memberships and grants each, and all that they did.
        now = "CURRENT_TIMESTAMP"
        users = User.objects.bulk_create(
            User(username=f"user {number}") for number in range(1_000)
        )
        others = f"{users[0].pk} + o.id % 1000 FROM orgadmin_organization o WHERE o.id >= {first}"
        view = "SELECT id FROM auth_permission WHERE codename = 'view_organization'"
        run(
            f"INSERT INTO orgadmin_user_groups (group_id, user_id) SELECT o.admin_id, {others}"
        )
        run(
            f"INSERT INTO {OrganizationUserObjectPermission._meta.db_table} (content_object_id, permission_id, user_id)"
            f" SELECT o.id, ({view}), {others}"
        )
        run(
            "INSERT INTO orgadmin_contact (organization_id, name, role, email, phone)"
            " SELECT id, 'Ada', '', '', '' FROM orgadmin_organization"
        )
        run(
            "INSERT INTO orgadmin_membershipevent (organization_key, organization_name, event, user_name, role,"
            " actor_name, reason, at, user_key)"
            f" SELECT o.id, '', 'joined', '', 'admin', '', '', {now}, {others}"
        )
        run(
            "INSERT INTO django_admin_log (object_id, object_repr, action_flag, change_message, action_time,"
            " content_type_id, user_id)"
            f" SELECT CAST(o.id AS text), '', 2, '', {now},"
            f" (SELECT id FROM django_content_type WHERE model = 'organization'), {others}"
        )
        run("ANALYZE")

    def assert_reads_no_large_table(self, user, *paths):
        self.client.force_login(user)
        for path in paths:
            self.client.get(path)
            with CaptureQueriesContext(connection) as queries:
                response = self.client.get(path)
                if response.streaming:
                    response.getvalue()
            self.assertEqual(response.status_code, 200, path)
            for query in queries:
                if query["sql"].startswith(("SELECT", "(SELECT")):
                    self.assertEqual(find_scans(query["sql"]), set(), query["sql"])

    def test_the_test_sees_a_scan(self):
        self.assertEqual(
            find_scans("SELECT * FROM orgadmin_organization WHERE notes = 'x'"),
            {"orgadmin_organization"},
        )
        either = "id IN (SELECT content_object_id FROM orgadmin_organizationuserobjectpermission WHERE user_id = 1)"
        sql = f"SELECT * FROM orgadmin_organization WHERE {either} OR {either}"
        if connection.vendor == "postgresql":
            self.assertIn("orgadmin_organization", find_scans(sql))

    def test_pages_of_org_admins_and_reviewers(self):
        page = f"{LIST}{self.own.pk}"
        lists = [
            LIST,
            f"{LIST}?q=muller+7",
            f"{LIST}?o=-1",
            f"{LIST}?o=2",
            f"{LIST}export/",
            "/admin/",
        ]
        lists += [f"{LIST}?after={self.own.pk}", "/admin/orgadmin/contact/"]
        choices = "/admin/autocomplete/?app_label=orgadmin&model_name=contact&field_name=organization&term=a"
        below = [f"{page}/{name}/" for name in ("change", "history")]
        more = [f"{page}/{name}/" for name in ("people", "ledger", "access")]
        self.assert_reads_no_large_table(self.ten, *lists, choices, *below, *more)
        self.assert_reads_no_large_table(self.reviewer, *lists, *below)
        if (
            connection.vendor == "postgresql"
        ):  # as docs/scale.md says: a disk without a moving head
            run("SET LOCAL random_page_cost = 1.1")
        self.assert_reads_no_large_table(self.thousand, *lists, choices, *below, *more)

    def test_pages_of_platform_staff(self):
        place = Organization.objects.order_by("name", "pk")[COUNT - 500].pk
        group = Group.objects.order_by("name")[50_000].pk
        person = User.objects.get(username="user 500").pk
        choices = (
            "/admin/autocomplete/?app_label=orgadmin&model_name=user&field_name=groups"
        )
        self.assert_reads_no_large_table(
            self.root,
            *(
                f"{LIST}{query}"
                for query in ("", "?p=90", "?o=-1", "?o=2", "?o=-2", f"?after={place}")
            ),
            *(
                f"{LIST}{self.own.pk}/{name}/"
                for name in ("change", "history", "people", "ledger", "access")
            ),
            *("/admin/auth/group/", f"/admin/auth/group/{group}/change/", choices),
            *(
                "/admin/orgadmin/user/",
                f"/admin/orgadmin/user/{person}/change/",
                "/admin/orgadmin/membershipevent/",
            ),
            *("/admin/orgadmin/contact/", "/admin/"),
        )

    def test_search_by_the_trigram_index(self):
        if connection.vendor != "postgresql":
            self.skipTest("SQLite has no trigram index: it reads the names through.")
        self.assertEqual(Contact.objects.count(), COUNT)
        hit = self.own.name.split()[-1]
        self.assert_reads_no_large_table(
            self.root,
            *(f"{LIST}?q={term}" for term in ("zzqqxx", hit)),
            f"/admin/auth/group/?q={hit}",
            f"/admin/autocomplete/?app_label=orgadmin&model_name=user&field_name=groups&term={hit}",
        )
