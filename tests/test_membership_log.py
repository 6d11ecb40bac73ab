import datetime
import io
import random
from unittest import skipUnless

from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.db import DatabaseError, NotSupportedError, connection, transaction
from django.test import Client, TestCase, override_settings, tag
from django.utils import timezone, translation

from orgadmin.access.authors import describe_means
from orgadmin.access.membership_log import Event
from orgadmin.access.origin import IMPORT
from orgadmin.gate.explain import explain
from orgadmin.models import MembershipEvent, Organization, User
from orgadmin.people import invitations, membership
from orgadmin.records.doctor.doctor import examine_organizations
from orgadmin.records.imports.organizations import import_organizations

from .factories import (
    ADMIN,
    REVIEWER,
    as_file,
    create_organization,
    create_superuser,
    create_user,
    id_cells,
    set_role,
)

PEOPLE = "/admin/orgadmin/organization/{}/people/"


def actual():
    """Return {(user id, organization id, role)} as the tables say."""
    through = User.groups.through.objects.all()
    pairs = set(through.values_list("user", "group"))
    return {
        (user, organization.pk, role.key)
        for organization in Organization.objects.all()
        for role in (ADMIN, REVIEWER)
        for user, group in pairs
        if group == getattr(organization, role.attname)
    }


def told(moment=None):
    """Return the same as the ledger says."""
    rows = MembershipEvent.objects.find_joining_events_of_members(moment).values_list(
        "user_key", "organization_key", "role"
    )
    return set(rows)


class EachWayTests(TestCase):
    """Every way of changing a membership leaves exactly one row in the log.

    The row says who made the change, if that can be known.
    """

    def setUp(self):
        self.acme = create_organization()
        self.user = create_user(email="anna@example.com")
        self.root = create_superuser()
        self.client.force_login(self.root)

    def assert_row(self, event, role="admin", *, by="root", reason=None):
        row = MembershipEvent.objects.get(pk__gt=self.last)  # the only one
        self.assertEqual((row.event, row.role, row.actor_name), (event, role, by))
        self.assertEqual(
            (row.organization_key, row.organization_name), (self.pk, "Acme")
        )
        if event not in (Event.INVITED, Event.REVOKED):
            self.assertEqual((row.user_key, row.user_name), (self.user_pk, "anna"))
        if reason:
            self.assertEqual(row.reason, reason)
        self.assertEqual(told(), actual())

    def watch(self, *groups):
        self.user.groups.set(groups)
        self.pk, self.user_pk = self.acme.pk, self.user.pk
        row = MembershipEvent.objects.first()
        self.last = row.pk if row else 0

    def post(self, **data):
        return self.client.post(PEOPLE.format(self.acme.pk), data)

    def post_person(self, *groups, **data):
        data |= {
            "username": "anna",
            "date_joined_0": "2026-01-01",
            "date_joined_1": "00:00:00",
            "is_active": "on",
        }
        url = f"/admin/orgadmin/user/{self.user.pk}/change/"
        return self.client.post(url, data | {"groups": [group.pk for group in groups]})

    def test_added_on_the_page_of_people(self):
        self.watch()
        self.post(**{"add": "1", "add-who": "anna", "add-role": "admin"})
        self.assert_row("joined")

    def test_another_role_on_the_page_of_people(self):
        self.watch(self.acme.reviewer)
        self.post(user=self.user.pk, role="admin")
        self.assert_row("joined")
        self.watch(self.acme.admin)
        confirmed = {"confirmed": "1", "confirmed_organizations": self.acme.pk}
        self.post(user=self.user.pk, role="reviewer", reason="Less work", **confirmed)
        self.assert_row("joined", "reviewer", reason="Less work")

    def test_removed_on_the_page_of_people(self):
        self.watch(self.acme.admin)
        confirmed = {"confirmed": "1", "confirmed_organizations": self.acme.pk}
        self.post(user=self.user.pk, remove="", reason="Moved on", **confirmed)
        self.assert_row("left", reason="Moved on")

    def test_invited_and_accepted(self):
        self.watch()
        self.post(
            **{
                "add": "1",
                "add-who": "anna@example.com",
                "add-role": "reviewer",
            }
        )
        self.assert_row("invited", "reviewer")
        self.watch()
        invitation = invitations.find_invitations("anna@example.com")[0]
        invitations.accept(invitation, self.user, account_is_unused=False)
        self.assert_row("joined", "reviewer", reason="Accepted an invitation.")

    def test_invited_and_withdrawn(self):
        invitation = invitations.invite(
            self.acme, "new@example.com", ADMIN, actor=self.root
        )
        self.watch()
        self.post(invitation=invitation.pk, revoke="")
        self.assert_row("withdrawn")

    def test_on_the_page_of_the_person(self):
        self.watch()
        self.post_person(self.acme.admin)
        self.assert_row("joined")
        self.watch(self.acme.admin)
        self.post_person(
            self.acme.admin, self.acme.reviewer, confirmed_organizations=self.acme.pk
        )
        self.assert_row("joined", "reviewer")
        self.watch(self.acme.admin)
        self.post_person(confirmed_organizations=self.acme.pk)
        self.assert_row("left")

    def test_taken_out_of_everything(self):
        self.watch(self.acme.admin)
        self.client.post(
            f"/admin/orgadmin/user/{self.user.pk}/leave/",
            {
                "confirmed": "1",
                "confirmed_organizations": self.acme.pk,
                "reason": "Retired",
            },
        )
        self.assert_row("left", reason="Retired")

    def test_on_the_command_line(self):
        self.watch()
        call_command(
            "assign",
            "anna",
            str(self.acme.pk),
            "admin",
            actor="root",
            reason="New",
            stdout=io.StringIO(),
        )
        self.assert_row("joined", reason="New")
        self.watch(self.acme.admin)
        call_command("assign", "anna", str(self.acme.pk), "none", stdout=io.StringIO())
        self.assert_row("left", by="")

    def test_from_a_file(self):
        self.user.verify_email()
        self.watch()
        file = as_file(
            f"id,id_key,name,admins\n{id_cells(self.acme.pk)},Acme,anna@example.com\n"
        )
        import_organizations(file, actor=self.root)
        self.assert_row("joined")

    def test_the_person_is_deleted(self):
        for way in (
            lambda: self.user.delete(),
            lambda: User.objects.filter(pk=self.user_pk).delete(),
        ):
            self.watch(self.acme.admin)
            way()
            self.assert_row("left", by="", reason="The account was deleted.")
            self.user = create_user(email="anna@example.com")

    def test_the_person_is_deleted_in_the_admin(self):
        self.watch(self.acme.admin)
        confirmed = {"post": "yes", "confirmed_organizations": self.acme.pk}
        self.client.post(f"/admin/orgadmin/user/{self.user.pk}/delete/", confirmed)
        self.assert_row("left")
        self.user = create_user()
        self.watch(self.acme.admin)
        data = {
            "action": "delete_selected",
            "_selected_action": [self.user.pk],
            **confirmed,
        }
        self.client.post("/admin/orgadmin/user/", data)
        self.assert_row("left")

    def test_the_organization_is_deleted(self):
        for way in (
            lambda: self.acme.delete(),
            lambda: Organization.objects.all().delete(),
        ):
            self.watch(self.acme.admin)
            way()
            self.assert_row("left", by="", reason="The organization was deleted.")
            self.acme = create_organization()

    def test_the_organization_is_deleted_in_the_admin(self):
        self.watch(self.acme.admin)
        self.client.post(
            f"/admin/orgadmin/organization/{self.acme.pk}/delete/", {"post": "yes"}
        )
        archived = "/admin/orgadmin/organization/archived/"
        self.client.post(f"{archived}{self.acme.pk}/purge/")
        self.assert_row("left")

    @tag("C8")
    def test_django_s_own_managers(self):
        admin, user = self.acme.admin, self.user
        for way in (
            lambda: user.groups.add(admin),
            lambda: admin.user_set.add(user),
            lambda: user.groups.set([admin]),
        ):
            self.watch()
            way()
            self.assert_row("found", by="")
            user.groups.add(admin)  # is there already
            self.assert_row("found", by="")
        for way in (
            lambda: user.groups.remove(admin),
            lambda: user.groups.clear(),
            lambda: user.groups.set([]),
            lambda: admin.user_set.remove(user),
            lambda: admin.user_set.clear(),
            lambda: admin.user_set.set([]),
        ):
            self.watch(admin)
            way()
            self.assert_row("left", by="")
            user.groups.remove(admin)  # is gone already
            self.assert_row("left", by="")

    def test_who_comes_back_by_another_way_than_they_went_is_found(self):
        set_role(self.acme, [self.user], ADMIN)
        User.groups.through.objects.all().delete()
        self.watch()
        self.user.groups.add(self.acme.admin)
        self.assert_row("found", by="")

    def test_what_escapes_is_found_by_the_doctor(self):
        through = User.groups.through.objects
        self.watch()
        through.create(user=self.user, group=self.acme.admin)
        self.assertEqual(
            [issue.kind for issue in examine_organizations() if issue.is_error],
            ["membership log"],
        )
        list(examine_organizations(fix=True))
        self.assert_row("found", by="")
        self.watch(self.acme.admin)
        through.all().delete()
        self.assertEqual(
            [issue.kind for issue in examine_organizations(fix=True) if issue.is_error],
            ["membership log"],
        )
        self.assert_row("left", by="")
        self.assertEqual(
            [issue for issue in examine_organizations() if issue.is_error], []
        )

    def test_a_change_that_changes_nothing_leaves_no_row(self):
        self.watch(self.acme.admin)
        self.post(user=self.user.pk, role="admin")
        self.post_person(self.acme.admin)
        self.assertFalse(MembershipEvent.objects.filter(pk__gt=self.last).exists())

    def test_a_group_of_no_organization_is_not_its_business(self):
        self.watch()
        self.user.groups.add(Group.objects.create(name="Other"))
        self.post_person(Group.objects.create(name="Another"))
        self.assertFalse(MembershipEvent.objects.filter(pk__gt=self.last).exists())


class LineTests(TestCase):
    """What the pages of the log show for each row."""

    def setUp(self):
        self.acme = create_organization()
        self.anna = create_user("anna", email="anna@example.com")
        self.ada = create_user("ada", admin_of=[self.acme])
        self.root = create_superuser()
        self.client.force_login(self.root)

    def read_lines(self):
        """Return {(event, role, by)} of Anna's rows on the page, newest first."""
        url = f"/admin/orgadmin/organization/{self.acme.pk}/ledger/"
        lines = []
        for event in self.client.get(url).context["page"]:
            if event.user_name == "anna":
                line = (event.shown_event, event.shown_role, event.shown_actor)
                lines.append(line)
        return lines

    def import_reviewer(self, email):
        cells = f"{id_cells(self.acme.pk)},Acme,{email}"
        file = as_file(f"id,id_key,name,reviewers\n{cells}\n")
        import_organizations(file, actor=self.root)

    def test_a_change_of_the_role_is_one_line(self):
        set_role(self.acme, [self.anna], REVIEWER, actor=self.ada)
        set_role(self.acme, [self.anna], ADMIN, actor=self.ada)
        set_role(self.acme, [self.anna], None, actor=self.ada)
        set_role(self.acme, [self.anna], ADMIN, actor=self.root)
        set_role(self.acme, [self.anna], REVIEWER, actor=self.root)
        expected = [
            ("role changed", "Admin → Reviewer", "root"),
            ("joined", "Admin", "root"),
            ("left", "Admin", "ada"),
            ("role changed", "Reviewer → Admin", "ada"),
            ("joined", "Reviewer", "ada"),
        ]
        self.assertEqual(self.read_lines(), expected)
        page = self.client.get("/admin/orgadmin/membershipevent/")
        self.assertContains(page, "Reviewer → Admin")

    def test_roles_in_other_organizations_and_of_other_people_make_no_difference(self):
        beta = create_organization("Beta")
        set_role(beta, [self.anna], REVIEWER)
        set_role(self.acme, [self.ada], REVIEWER, confirmed=[self.acme.pk])
        set_role(self.acme, [self.anna], ADMIN)
        self.assertEqual(self.read_lines(), [("joined", "Admin", "")])

    def test_a_file_keeps_one_row_for_each_change(self):
        set_role(self.acme, [self.anna], REVIEWER, actor=self.ada)
        set_role(self.acme, [self.anna], ADMIN, actor=self.ada)
        url = f"/admin/orgadmin/organization/{self.acme.pk}/ledger/?csv=1"
        file = self.client.get(url).getvalue().decode()
        self.assertIn(f"joined,anna,{self.acme.pk},Acme,admin,ada,", file)
        self.assertNotIn("→", file)

    def test_names_imports_and_commands_as_authors(self):
        self.anna.verify_email()
        self.import_reviewer("anna@example.com")
        call_command("assign", "anna", str(self.acme.pk), "admin", stdout=io.StringIO())
        call_command(
            "assign",
            "anna",
            str(self.acme.pk),
            "none",
            actor="root",
            stdout=io.StringIO(),
        )
        self.assertEqual(
            self.read_lines(),
            [
                ("left", "Admin", "Command assign by root"),
                ("role changed", "Reviewer → Admin", "Command assign"),
                ("joined", "Reviewer", "Import by root"),
            ],
        )
        url = f"/admin/orgadmin/organization/{self.acme.pk}/ledger/"
        file = self.client.get(f"{url}?csv=1").getvalue().decode()
        self.assertIn(",reviewer,root,", file)
        self.assertIn("(import)", file)
        self.client.force_login(self.ada)
        page = self.client.get(url)
        self.assertContains(page, "Import by Platform staff")
        self.assertNotContains(page, "root")

    def test_reasons_of_the_site_are_in_the_language_of_the_reader(self):
        reason = "Accepted an invitation."
        set_role(self.acme, [self.anna], REVIEWER, actor=self.ada, reason=reason)
        for url in (
            f"/admin/orgadmin/organization/{self.acme.pk}/ledger/",
            "/admin/orgadmin/membershipevent/",
        ):
            with self.subTest(url=url):
                page = self.client.get(url, headers={"accept-language": "de"})
                self.assertContains(page, "Einladung angenommen.")
                self.assertNotContains(page, reason)

    def test_imports_by_nobody_are_named_with_a_noun(self):
        """Buttons have the same word in English, and a verb in German."""
        with translation.override("de"):
            self.assertEqual(describe_means(IMPORT, ""), "Import")

    def test_an_import_is_no_provider_whose_groups_decide(self):
        self.anna.verify_email()
        self.import_reviewer("anna@example.com")
        lines = explain(self.anna, self.acme).lines
        self.assertFalse([line for line in lines if "comes from a group" in line])


class AppendOnlyTests(TestCase):
    def setUp(self):
        self.user = create_user(admin_of=[create_organization()])
        self.event = MembershipEvent.objects.get()

    def test_the_model_refuses_to_change_and_to_remove(self):
        for way in (
            self.event.save,
            self.event.delete,
            MembershipEvent.objects.all().delete,
            lambda: MembershipEvent.objects.update(reason="x"),
            lambda: MembershipEvent._base_manager.update(reason="x"),
        ):
            with self.assertRaises(NotSupportedError):
                way()

    @skipUnless(connection.vendor == "postgresql", "a trigger of PostgreSQL")
    def test_the_database_refuses(self):
        for sql in (
            "UPDATE orgadmin_membershipevent SET reason = ''",
            "DELETE FROM orgadmin_membershipevent",
        ):
            with (
                self.assertRaisesMessage(DatabaseError, "append-only"),
                transaction.atomic(),
            ):
                with connection.cursor() as cursor:
                    cursor.execute(sql)
        self.assertEqual(MembershipEvent.objects.get().pk, self.event.pk)

    @tag("C8")
    def test_the_admin_only_shows_it_and_to_superusers_only(self):
        url = "/admin/orgadmin/membershipevent/"
        self.client.force_login(create_superuser())
        self.assertContains(self.client.get(url, {"q": "anna"}), "Acme")
        for page in (f"{url}add/", f"{url}{self.event.pk}/delete/"):
            self.assertEqual(self.client.post(page, {"post": "yes"}).status_code, 403)
        self.assertEqual(
            self.client.post(
                f"{url}{self.event.pk}/change/", {"reason": "x"}
            ).status_code,
            403,
        )
        data = {
            "action": "delete_selected",
            "_selected_action": [self.event.pk],
            "post": "yes",
        }
        self.client.post(url, data)
        self.assertTrue(
            MembershipEvent.objects.filter(pk=self.event.pk, reason="").exists()
        )
        self.client.force_login(self.user)
        self.assertEqual(self.client.get(url).status_code, 403)

    def test_keys_and_names_outlive_who_they_are_of(self):
        self.user.delete()
        Organization.objects.all().delete()
        row = MembershipEvent.objects.last()
        self.assertEqual((row.user_name, row.organization_name), ("anna", "Acme"))


class ReplayTests(TestCase):
    """After random changes in every way, the log knows the members of any moment."""

    def setUp(self):
        self.random = random.Random(20261124)
        self.root = create_superuser()
        self.users = [
            create_user(f"user{number}", email=f"u{number}@example.com")
            for number in range(5)
        ]
        for user in self.users:
            user.verify_email()
        self.places = [create_organization(f"Place {number}") for number in range(4)]
        self.client = Client()
        self.client.force_login(self.root)

    def act(self):
        user, place = self.random.choice(self.users), self.random.choice(self.places)
        role = self.random.choice([ADMIN, REVIEWER])
        group, other = (
            getattr(place, role.key),
            self.random.choice(self.places).reviewer,
        )
        people = PEOPLE.format(place.pk)
        return self.random.choice(
            [
                lambda: set_role(
                    place, [user, self.random.choice(self.users)], role, actor=self.root
                ),
                lambda: set_role(place, self.users, self.random.choice([role, None])),
                lambda: membership.set_groups(user, [group]),
                lambda: self.invite_and_accept(place, user, role),
                lambda: self.client.post(
                    people, {"user": user.pk, "role": role.key, "confirmed": "1"}
                ),
                lambda: self.client.post(
                    people, {"user": user.pk, "remove": "", "confirmed": "1"}
                ),
                lambda: import_organizations(
                    as_file(
                        f"id,id_key,name,{role.key}s\n{id_cells(place.pk)},Same,{user.email}\n"
                    )
                ),
                lambda: user.groups.add(group, other),
                lambda: user.groups.remove(group),
                lambda: user.groups.clear(),
                lambda: user.groups.set([group, other]),
                lambda: group.user_set.set(self.random.sample(self.users, 2)),
                lambda: group.user_set.clear(),
                lambda: self.replace_user(user),
                lambda: self.replace_place(place),
            ]
        )

    def invite_and_accept(self, place, user, role):
        invitation = invitations.invite(place, user.email, role, actor=self.root)
        invitations.accept(invitation, user, account_is_unused=False)

    def replace_user(self, user):
        values = {"username": user.username, "email": user.email}
        self.users.remove(user)
        user.delete()
        new_user = User.objects.create_user(**values)
        # An import gives no role to an address that nobody verified.
        new_user.verify_email()
        self.users.append(new_user)

    def replace_place(self, place):
        self.places.remove(place)
        place.delete()
        self.places.append(create_organization("Place"))

    def test_replays_to_the_membership_of_any_moment(self):
        moments, seen = [], set()
        for _ in range(250):
            act = self.act()
            seen.add(act.__code__.co_firstlineno)
            act()
            moments.append((timezone.now(), actual()))
            self.assertEqual(told(), actual())
        self.assertEqual(len(seen), 15)
        for moment, members in moments:
            self.assertEqual(told(moment), members)
        self.assertEqual(told(moments[0][0] - datetime.timedelta(days=1)), set())
        self.assertFalse([issue for issue in examine_organizations() if issue.is_error])


class DayTests(TestCase):
    """A day ends when the next one starts, in the site's time zone."""

    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization()
        cls.anna = create_user("anna")

    def write(self, at):
        """Log that someone joined at a time in UTC."""
        MembershipEvent.objects.create(
            at=datetime.datetime.fromisoformat(at).replace(tzinfo=datetime.UTC),
            event="joined",
            user_key=self.anna.pk,
            user_name="anna",
            organization_key=self.acme.pk,
            organization_name="Acme",
            role="admin",
        )

    def assert_joins_on(self, day, at, zone):
        """Check that someone who joined at a time was a member on a day, not before."""
        self.write(at)
        date = datetime.date.fromisoformat(day)
        before = date - datetime.timedelta(days=1)
        self.client.force_login(create_superuser())
        url = f"/admin/orgadmin/organization/{self.acme.pk}/ledger/"
        with override_settings(TIME_ZONE=zone):
            for on, count in ((before, 0), (date, 1)):
                response = self.client.get(url, {"on": on})
                self.assertEqual(response.context["page"].paginator.count, count, on)
                out = io.StringIO()
                call_command("members", "--on", str(on), stdout=out)
                self.assertEqual(len(out.getvalue().splitlines()), 1 + count, on)

    def test_the_last_microsecond_belongs_to_the_day(self):
        self.assert_joins_on(
            "2026-03-01", "2026-03-01T22:59:59.999999", "Europe/Berlin"
        )

    def test_midnight_belongs_to_the_next_day(self):
        self.assert_joins_on("2026-03-02", "2026-03-01T23:00:00", "Europe/Berlin")

    def test_the_second_of_two_last_hours_belongs_to_the_day(self):
        # In Beirut, the hour before midnight of 25 October 2025 occurred twice.
        self.assert_joins_on("2025-10-25", "2025-10-25T21:30:00", "Asia/Beirut")

    def test_a_day_can_start_at_one_o_clock(self):
        # In Beirut, 30 March 2025 started at 1:00.
        self.assert_joins_on("2025-03-30", "2025-03-29T22:00:00", "Asia/Beirut")

    def test_a_day_in_the_future_is_refused(self):
        self.write("2026-03-01T12:00:00")
        self.client.force_login(create_superuser())
        url = f"/admin/orgadmin/organization/{self.acme.pk}/ledger/"
        tomorrow = timezone.localdate() + datetime.timedelta(days=1)
        for day in (tomorrow, datetime.date.max):
            for more in ({}, {"csv": "1"}):
                response = self.client.get(url, {"on": day, **more})
                self.assertContains(response, "This day is in the future.")
            with self.assertRaisesRegex(CommandError, "is in the future"):
                call_command("members", "--on", str(day), stdout=io.StringIO())
        response = self.client.get(url, {"on": timezone.localdate()})
        self.assertEqual(response.context["page"].paginator.count, 1)
