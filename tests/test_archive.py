"""Archived organizations, and those in the trash: nobody has access to them."""

import re
from datetime import timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from unittest import mock

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.core.management import CommandError, call_command
from django.test import (
    TestCase,
    TransactionTestCase,
    override_settings,
    skipUnlessDBFeature,
    tag,
)
from django.utils import timezone

from config.providers import GroupRole
from orgadmin.access.audit_log import SecurityEvent
from orgadmin.access.roles import PERMISSIONS
from orgadmin.gate.answers import Gate
from orgadmin.gate.explain import explain
from orgadmin.models import (
    AuditEvent,
    Invitation,
    MembershipEvent,
    MonthlyCount,
    Organization,
)
from orgadmin.models.guards import find_orphaned_by
from orgadmin.models.organization_queryset import ARCHIVE_FIELDS
from orgadmin.people import archive, mail, offboarding
from orgadmin.people.changes import RoleChange
from orgadmin.people.invitations import (
    InvitationGone,
    accept,
    find_invitation,
    find_invitations,
    invite,
)
from orgadmin.people.membership import change_roles
from orgadmin.people.provider_groups import apply_groups
from orgadmin.records.imports.organizations import ImportRefused, import_organizations
from tests.factories import (
    ADMIN,
    REVIEWER,
    as_file,
    create_organization,
    create_superuser,
    create_user,
    grant,
    run_doctor,
    set_role,
)
from tests.together import run_together


class ArchiveCase(TestCase):
    def setUp(self):
        self.root = create_superuser()
        self.acme = create_organization("Acme", reference="A1")
        self.mary = create_user("mary", email="mary@example.com", admin_of=[self.acme])
        self.john = create_user("john", email="john@example.com")
        set_role(self.acme, [self.john], REVIEWER)

    def archive(self, *, trash=False):
        archive.archive([self.acme.pk], actor=self.root)
        if trash:
            archive.move_to_trash([self.acme.pk], actor=self.root)
        self.acme.refresh_from_db()


class RuleTests(ArchiveCase):
    """The rule: nobody has a permission on an archived organization."""

    def setUp(self):
        super().setUp()
        self.viewer = create_user("viewer", is_staff=True)
        self.guest = create_user("guest")
        grant(self.guest, "view_organization", self.acme)
        delegate = create_user(
            "delegate",
            is_staff=True,
            permissions=[f"{name}_organization" for name in PERMISSIONS],
        )
        self.users = [self.root, self.mary, self.john, self.guest, delegate]

    def assert_nobody_has_access(self):
        organizations = Organization.objects
        sources = organizations.find_sources(self.users, [self.acme.pk])
        for user in self.users:
            with self.subTest(user=user.username):
                pk = self.acme.pk
                self.assertEqual(organizations.permissions_on(user, pk), frozenset())
                self.assertEqual(sources[user.pk, pk], {})
                self.assertNotIn(self.acme, organizations.find_viewers(pk))
                self.assertNotIn(user, organizations.find_viewers(pk))
                for permission in PERMISSIONS:
                    permitted = organizations.permitted(user, permission)
                    self.assertNotIn(self.acme, permitted)
                    self.assertFalse(explain(user, self.acme, permission).may)

    @tag("B15")
    def test_nobody_has_access_to_an_archived_one(self):
        self.archive()
        self.assert_nobody_has_access()

    @tag("B15")
    def test_nobody_has_access_to_one_in_the_trash(self):
        self.archive(trash=True)
        self.assert_nobody_has_access()

    def test_others_are_not_affected(self):
        other = create_organization("Other")
        self.archive()
        sources = Organization.objects.find_sources(
            self.users, [self.acme.pk, other.pk]
        )
        self.assertIn("view", sources[self.root.pk, other.pk])
        self.assertIn(other, Organization.objects.permitted(self.root))
        self.assertIn(self.root, Organization.objects.find_viewers(other.pk))

    def test_restoring_gives_all_of_it_back(self):
        before = {
            user: Organization.objects.permissions_on(user, self.acme.pk)
            for user in self.users
        }
        self.archive(trash=True)
        archive.restore([self.acme.pk], actor=self.root)
        after = {
            user: Organization.objects.permissions_on(user, self.acme.pk)
            for user in self.users
        }
        self.assertEqual(after, before)
        self.assertIn("change", after[self.mary])

    def test_who_belongs_to_archived_ones_only_cannot_enter(self):
        self.assertTrue(Gate(self.mary).may_enter)
        self.archive()
        self.assertFalse(Gate(self.mary).may_enter)

    def test_an_object_check_takes_one_query(self):
        self.archive()
        for user in (self.root, self.mary):
            with self.subTest(user.username), self.assertNumQueries(1):
                Organization.objects.permissions_on(user, self.acme.pk)

    def test_explains_it(self):
        self.archive()
        lines = explain(self.mary, self.acme).lines
        self.assertIn(
            "The organization is archived, so nobody has access to it.", lines
        )


class ArchivingTests(ArchiveCase):
    @tag("B15")
    def test_keeps_groups_members_and_history(self):
        groups = Group.objects.count()
        versions = self.acme.history.count()
        self.archive(trash=True)
        self.assertEqual(Group.objects.count(), groups)
        self.assertEqual(self.acme.history.count(), versions)
        self.assertIn(self.mary, self.acme.admin.user_set.all())

    def test_notes_when_and_by_whom(self):
        self.archive(trash=True)
        self.assertEqual(self.acme.archived_by_key, self.root.pk)
        self.assertEqual(self.acme.trashed_by_name, "root")
        self.assertLess(timezone.now() - self.acme.archived_at, timedelta(minutes=1))

    @tag("G3")
    def test_each_step_is_logged_with_its_actor(self):
        self.archive(trash=True)
        archive.restore([self.acme.pk], actor=self.root)
        events = AuditEvent.objects.filter(event__startswith="organizations ")
        self.assertEqual(
            list(events.order_by("pk").values_list("event", "actor_key", "details")),
            [
                (event, self.root.pk, {"organizations": [self.acme.pk]})
                for event in (
                    SecurityEvent.ORGANIZATIONS_ARCHIVED,
                    SecurityEvent.ORGANIZATIONS_TRASHED,
                    SecurityEvent.ORGANIZATIONS_RESTORED,
                )
            ],
        )
        entries = LogEntry.objects.filter(object_id=str(self.acme.pk)).order_by("pk")
        self.assertEqual(
            list(entries.values_list("user", "change_message")),
            [
                (self.root.pk, "Archived."),
                (self.root.pk, "Moved to the trash."),
                (self.root.pk, "Restored from the archive."),
            ],
        )

    def test_doing_it_again_changes_nothing(self):
        self.archive()
        since = self.acme.archived_at
        self.assertEqual(archive.archive([self.acme.pk], actor=self.root), [])
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.archived_at, since)
        archive.restore([self.acme.pk], actor=self.root)
        self.assertEqual(archive.restore([self.acme.pk], actor=self.root), [])

    @tag("C40")
    def test_only_who_may_delete_can_archive(self):
        with self.assertRaises(PermissionDenied):
            archive.archive([self.acme.pk], actor=self.mary)
        delegate = create_user(
            "delegate",
            is_staff=True,
            permissions=["view_organization", "delete_organization"],
        )
        archive.archive([self.acme.pk], actor=delegate)
        for function in (
            archive.restore,
            archive.move_to_trash,
            archive.delete_permanently,
        ):
            with self.subTest(function.__name__), self.assertRaises(PermissionDenied):
                function([self.acme.pk], actor=delegate)

    @tag("C40")
    def test_only_archived_ones_can_be_trashed_or_deleted(self):
        self.assertEqual(archive.move_to_trash([self.acme.pk], actor=self.root), [])
        self.assertEqual(
            archive.delete_permanently([self.acme.pk], actor=self.root), []
        )
        self.assertTrue(Organization.objects.filter(pk=self.acme.pk).exists())

    def test_deleting_permanently_leaves_only_the_logs(self):
        self.archive()
        archive.delete_permanently([self.acme.pk], actor=self.root)
        self.assertFalse(Organization.objects.exists())
        self.assertFalse(Group.objects.exists())
        last = MembershipEvent.objects.filter(user_key=self.mary.pk)
        last = last.order_by("pk").last()
        self.assertEqual(last.event, "left")

    def test_delete_in_code_deletes_an_archived_one_too(self):
        self.archive()
        self.acme.delete()
        self.assertFalse(Group.objects.exists())

    @tag("B15")
    def test_no_save_brings_it_back(self):
        stale = Organization.objects.get(pk=self.acme.pk)
        self.archive()
        stale.name = "Acme Ltd"
        stale.save()
        Organization.objects.update(archived_at=None, name="Acme plc")
        Organization.objects.bulk_update([stale], ["name", "phone"])
        self.acme.refresh_from_db()
        self.assertIsNotNone(self.acme.archived_at)

    @tag("B15")
    def test_fixtures_say_what_is_archived(self):
        self.archive(trash=True)
        self.acme.refresh_from_db()
        with NamedTemporaryFile("w", suffix=".json") as file:
            call_command("dumpdata", "orgadmin.organization", stdout=file)
            file.flush()
            archive.restore([self.acme.pk], actor=self.root)
            call_command("loaddata", file.name, verbosity=0)
        stored = Organization.objects.get(pk=self.acme.pk)
        for name in ARCHIVE_FIELDS:
            with self.subTest(name):
                self.assertEqual(getattr(stored, name), getattr(self.acme, name))


class ReadersTests(ArchiveCase):
    """Everything that reads organizations without the rule."""

    @tag("C40")
    def test_nobody_can_be_added(self):
        self.archive()
        for actor in (None, self.root):
            with self.assertRaises(Organization.DoesNotExist):
                change_roles([RoleChange(self.john, self.acme, ADMIN)], actor=actor)
        with self.assertRaisesMessage(CommandError, "is archived"):
            call_command("assign", "john", str(self.acme.pk), "admin")

    def test_roles_end_when_a_person_leaves(self):
        self.archive()
        offboarding.offboard(self.mary, actor=self.root)
        self.assertFalse(self.mary.groups.exists())
        archive.restore([self.acme.pk], actor=self.root)
        self.assertFalse(self.acme.admin.user_set.exists())

    @tag("C40")
    def test_members_end_no_roles_there(self):
        self.archive()
        with self.assertRaises(PermissionDenied):
            change_roles([RoleChange(self.john, self.acme, None)], actor=self.mary)

    def test_needs_no_admin(self):
        self.archive()
        self.assertEqual(find_orphaned_by([self.mary]), [])
        self.mary.is_active = False
        self.mary.changed_by = self.root
        self.mary.save()

    @tag("B15")
    def test_invitations_are_gone(self):
        invitation = invite(self.acme, "new@example.com", REVIEWER, actor=self.mary)
        token = invitation.make_token()
        self.archive()
        with self.assertRaises(InvitationGone):
            find_invitation(token)
        self.assertEqual(find_invitations("new@example.com"), [])
        with self.assertRaises(InvitationGone):
            accept(
                invitation,
                create_user("new", email="new@example.com"),
                account_is_unused=False,
            )
        with self.assertRaises(Organization.DoesNotExist):
            invite(self.acme, "other@example.com", REVIEWER, actor=self.root)
        archive.restore([self.acme.pk], actor=self.root)
        self.assertEqual(find_invitation(token), invitation)

    def test_an_invitation_to_a_member_is_gone_too(self):
        invitation = invite(self.acme, "john@example.com", REVIEWER, actor=self.mary)
        self.archive()
        with self.assertRaises(InvitationGone):
            accept(invitation, self.john, account_is_unused=False)
        self.assertTrue(Invitation.objects.filter(pk=invitation.pk).exists())

    def test_groups_of_a_provider_give_nothing(self):
        role = GroupRole(group="g", reference="A1", role="admin")
        provider = mock.Mock(id="corp", roles=[role])
        self.archive()
        self.assertEqual(apply_groups(self.john, provider, ["g"]), [])

    def test_no_mail_names_it(self):
        keys = {
            "person": self.john.pk,
            "organization": self.acme.pk,
            "role": "admin",
            "previous": "",
        }
        self.archive()
        self.assertEqual(mail.find_admins([self.acme.pk]), {})
        self.assertEqual(mail.find_names_then(self.john, [self.acme.pk]), {})
        self.assertEqual(mail.describe_changes([keys], {}), [])

    def test_is_not_counted(self):
        create_organization("Other")
        self.archive()
        MonthlyCount.objects.count_today()
        self.assertEqual(MonthlyCount.objects.get().organizations, 1)

    def test_imports_say_who_has_the_reference(self):
        self.archive()
        for actor in (None, self.root):
            with self.assertRaises(ImportRefused) as raised:
                import_organizations(as_file("name,reference\nNew,A1\n"), actor=actor)
            [problem] = raised.exception.problems
            self.assertEqual(problem.line, 2)
            self.assertIn(f"has this reference: ID {self.acme.pk}.", problem.message)

    def test_the_doctor_checks_it(self):
        self.archive()
        self.assertEqual(run_doctor()[0], 0)
        self.acme.group_grants.all().delete()
        self.assertEqual(run_doctor()[0], 1)
        self.assertEqual(run_doctor("--fix")[0], 0)


class PurgeTests(ArchiveCase):
    def age(self, days):
        at = timezone.now() - timedelta(days=days)
        Organization.objects.write_without_history([self.acme.pk], {"trashed_at": at})

    @override_settings(TRASH_DAYS=30)
    def test_deletes_what_was_in_the_trash_for_long_enough(self):
        self.archive(trash=True)
        self.age(29)
        self.assertEqual(archive.purge_trash(), 0)
        self.age(31)
        self.assertEqual(archive.purge_trash(), 1)
        self.assertFalse(Organization.objects.exists())
        event = AuditEvent.objects.get(event=SecurityEvent.ORGANIZATIONS_DELETED)
        self.assertIsNone(event.actor_key)
        self.assertEqual(archive.purge_trash(), 0)

    @tag("C40")
    def test_never_deletes_what_is_not_archived(self):
        self.age(100)
        self.assertEqual(archive.purge_trash(), 0)

    def test_works_in_batches_that_are_committed_one_by_one(self):
        others = [create_organization(f"Other {number}") for number in range(4)]
        pks = [organization.pk for organization in others]
        archive.archive(pks, actor=None)
        archive.move_to_trash(pks, actor=None)
        later = timezone.now() + timedelta(days=31)
        original = archive._purge_batch
        with (
            mock.patch.object(archive, "BATCH", 3),
            mock.patch.object(archive.timezone, "now", return_value=later),
            mock.patch.object(
                archive, "_purge_batch", side_effect=[original(), KeyboardInterrupt]
            ),
            self.assertRaises(KeyboardInterrupt),
        ):
            archive.purge_trash()
        self.assertEqual(Organization.objects.archived().count(), 1)


@skipUnlessDBFeature("has_select_for_update")
class RaceTests(TransactionTestCase):
    """Archiving while others save, restore, accept or purge."""

    def setUp(self):
        self.root = create_superuser()
        self.acme = create_organization("Acme")
        self.mary = create_user("mary", admin_of=[self.acme])

    def archive(self):
        return archive.archive([self.acme.pk], actor=self.root)

    def test_only_one_of_two_archives(self):
        results = run_together(self.archive, self.archive)
        self.assertEqual(sorted(len(rows) for rows in results), [0, 1])
        events = AuditEvent.objects.filter(event=SecurityEvent.ORGANIZATIONS_ARCHIVED)
        self.assertEqual(events.count(), 1)

    def test_who_saves_meanwhile_does_not_bring_it_back(self):
        stale = Organization.objects.get(pk=self.acme.pk)

        def save():
            stale.name = "Acme Ltd"
            stale.save()

        run_together(self.archive, save)
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.name, "Acme Ltd")

    def test_nobody_joins_while_it_is_archived(self):
        john = create_user("john", email="john@example.com")
        invitation = invite(self.acme, "john@example.com", REVIEWER, actor=self.mary)

        def join():
            try:
                accept(invitation, john, account_is_unused=False)
            except InvitationGone:
                return False
            return True

        _rows, joined = run_together(self.archive, join)
        self.acme.refresh_from_db()
        self.assertIsNotNone(self.acme.archived_at)
        is_member = self.acme.reviewer.user_set.filter(pk=john.pk).exists()
        self.assertEqual(is_member, joined)
        still_invited = Invitation.objects.filter(pk=invitation.pk).exists()
        self.assertEqual(still_invited, not joined)

    @tag("C40")
    def test_what_is_restored_is_not_purged(self):
        for _ in range(5):
            self.archive()
            archive.move_to_trash([self.acme.pk], actor=self.root)
            at = timezone.now() - timedelta(days=99)
            Organization.objects.write_without_history(
                [self.acme.pk], {"trashed_at": at}
            )
            restored, purged = run_together(
                lambda: len(archive.restore([self.acme.pk], actor=self.root)),
                archive.purge_trash,
            )
            self.assertEqual(restored + purged, 1)
            if purged:
                self.assertFalse(Organization.objects.exists())
                self.acme = create_organization("Acme")
            else:
                self.assertIn(self.acme, Organization.objects.permitted(self.root))


# {module: why it reads organizations without the rule, also archived ones}
READS_ALL = {
    "orgadmin/access/rule.py": "is the rule",
    "orgadmin/admin/reviews/access_reviews.py": "names those of a review",
    "orgadmin/admin/organizations/review.py": "loads one that the rule has permitted",
    "orgadmin/people/end_reminders.py": "leaves out memberships in archived ones",
    "orgadmin/admin/organizations/archived.py": "shows superusers archived ones",
    "orgadmin/admin/home/feed_items.py": "asks the gate about each before it is shown",
    "orgadmin/admin/forms.py": "asks superusers before it takes a reference",
    "orgadmin/admin/people/groups.py": "leaves out the groups of archived ones",
    "orgadmin/admin/gated.py": "loads one that the rule has permitted",
    "orgadmin/gate/answers.py": "asks the rule",
    "orgadmin/management/commands/loaddata.py": "stores what fixtures say",
    "orgadmin/management/arguments.py": "finds what an operator names",
    "orgadmin/management/demo.py": "makes the demo",
    "orgadmin/management/demo_story.py": "makes the demo",
    "orgadmin/models/organization.py": "is the model",
    "orgadmin/admin/people/new_person.py": "starts with none, and then asks the rule",
    "orgadmin/models/access_request.py": "leaves out archived ones",
    "orgadmin/models/access_review.py": "leaves out archived ones",
    "orgadmin/people/archive.py": "archives and restores them",
    "orgadmin/people/held_roles.py": "finds roles to end, also in archived ones",
    "orgadmin/people/expiry.py": "removes what has ended, also in archived ones",
    "orgadmin/people/membership.py": "ends roles in archived ones, too",
    "orgadmin/people/review_decisions.py": "locks one and then asks the rule",
    "orgadmin/people/review_due.py": "locks those that are not archived",
    "orgadmin/people/review_items.py": "leaves archived ones out of each batch",
    "orgadmin/people/review_paths.py": "reads those of a review, which left them out",
    "orgadmin/people/review_schedule.py": "closes what can no longer be reviewed",
    "orgadmin/people/reviews.py": "leaves archived ones out of what a review covers",
    "orgadmin/people/succession.py": "ends roles in archived ones, too",
    "orgadmin/records/doctor/doctor.py": "checks all",
    "orgadmin/records/erasure.py": "erases a person everywhere",
    "orgadmin/records/exports.py": "names those of a membership log that was permitted",
    "orgadmin/records/imports/dry_run.py": "names the groups of new ones",
    "orgadmin/records/imports/people_planning.py": "refuses rows about archived ones",
    "orgadmin/records/imports/planning.py": "finds who has a reference",
    "orgadmin/records/imports/undo.py": "locks those that the rule permits to change",
    "orgadmin/records/imports/writing.py": "creates new ones",
    "orgadmin/records/doctor/key_check.py": "checks all",
    "orgadmin/records/doctor/company_check.py": "checks whether a reference exists",
    "orgadmin/records/versions.py": "locks one and then asks the rule",
}


class MechanismTests(TestCase):
    @tag("B15")
    def test_every_module_decides_about_archived_ones(self):
        """A module that reads organizations asks the rule, or says why it does not."""
        readers = set()
        for path in Path(settings.BASE_DIR, "orgadmin").rglob("*.py"):
            name = str(path.relative_to(settings.BASE_DIR))
            if "/migrations/" in name:
                continue
            text = re.sub(r"\s+", "", path.read_text())
            decided = r"Organization\.objects\.(permi|unarchived|find_|write_|count_)"
            uses = re.findall(r"Organization\.objects\.", text)
            if len(uses) > len(re.findall(decided, text)):
                readers.add(name)
        self.assertEqual(readers - READS_ALL.keys(), set())
