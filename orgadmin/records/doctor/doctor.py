"""Finds and repairs broken invariants of organizations and their groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Any

from django.contrib.auth.models import Group
from django.db import connection, models, transaction
from django.db.models import Value

# The membership log stores reasons in English. Pages translate them.
from django.utils.translation import gettext_noop as _

from orgadmin.access.groups import (
    NameSeries,
    find_free_names,
    give_generated_names,
    grant_permissions,
)
from orgadmin.access.membership_log import Event, MembershipChange, write_changes
from orgadmin.access.roles import (
    ADMIN,
    ROLES,
    ROLES_BY_KEY,
    Role,
    codename,
    is_generated,
)
from orgadmin.models import (
    Contact,
    Membership,
    MembershipEvent,
    Organization,
    OrganizationGroupObjectPermission,
    OrganizationUserObjectPermission,
    User,
)
from orgadmin.people.membership import lock

BATCH = 1_000  # organizations in one transaction


@dataclass(frozen=True)
class Issue:
    """An error or a note about an organization, or about the site.

    Pages translate the kinds of errors. Commands print them in English.
    """

    kind: str
    text: str
    organization: Organization | None = None  # None if it is about the site
    is_error: bool = True  # False for a note, which is never repaired
    is_repairable: bool = True


@dataclass(frozen=True)
class GroupOwner:
    """The organization that a group belongs to, and the role of its members there."""

    organization: Organization
    role: Role


@dataclass(frozen=True)
class GroupMember:
    owner: GroupOwner
    group_id: int
    user_pk: int
    username: str
    is_active: bool
    ends_at: datetime | None
    has_ended: bool  # its end has passed, but its row has not been removed yet


@dataclass(frozen=True, order=True)
class Grant:
    """An object permission of a group. The context says which group it is."""

    organization_pk: int
    codename: str

    def __str__(self) -> str:
        return f"{self.codename} ({self.organization_pk})"


@dataclass(frozen=True)
class KnownMember:
    """What the table of memberships, or the membership log, says about a role."""

    username: str
    ends_at: datetime | None


@dataclass(frozen=True)
class RoleKey:
    """Identifies the role of one user in one organization."""

    user_pk: int
    organization_pk: int
    role: Role


def find_last_end(ends: Sequence[datetime | None]) -> datetime | None:
    """Return the latest end, or None if there are no ends or one of them is None."""
    known = [end for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None


def examine_organizations(*, fix: bool = False) -> Iterator[Issue]:
    """Yield the errors and notes about all organizations.

    With `fix`, errors are repaired before they are yielded. Each batch is examined in a
    transaction of its own. Runs about 10 queries per batch, and keeps one batch in
    memory.

    People can use the site during the examination. Each batch is read in one database
    snapshot. Organizations with errors are then locked and examined again before
    anything is repaired. Organizations that were deleted in the meantime are skipped.
    """
    last_pk = 0
    while True:
        with read_snapshot():
            batch = list(select_organizations().filter(pk__gt=last_pk)[:BATCH])
            if not batch:
                return
            examination = BatchExamination(batch)
            issues = examination.run()
        if fix:
            errors = [issue for issue in issues if issue.is_error]
            yield from repair_organizations(errors, examination.unlogged_users)
            issues = [issue for issue in issues if not issue.is_error]
        yield from issues
        last_pk = batch[-1].pk


def select_organizations() -> models.QuerySet[Organization]:
    organizations = Organization.objects.order_by("pk")
    return organizations.select_related(*(role.key for role in ROLES))


@contextmanager
def read_snapshot() -> Iterator[None]:
    """Run all queries of the block in one database snapshot.

    On PostgreSQL, this only works outside of a transaction. On SQLite, a transaction
    always has one snapshot.
    """
    is_outermost = not connection.in_atomic_block
    with transaction.atomic():
        if is_outermost and connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(
                    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
                )
        yield


def repair_organizations(
    errors: Sequence[Issue], user_pks: Collection[int]
) -> list[Issue]:
    """Repair the organizations that the errors are about, and return what was repaired.

    `user_pks` are users whose memberships differ from the membership log.
    """
    organization_pks = {
        issue.organization.pk for issue in errors if issue.organization is not None
    }
    if not organization_pks:
        return []
    repaired = []
    users_to_lock = set(user_pks)
    while True:
        with transaction.atomic():
            # Lock in the same order as role changes, which wait for the repair.
            lock(User, users_to_lock)
            locked = lock(Organization, organization_pks)
            organizations = list(select_organizations().filter(pk__in=locked))
            examination = BatchExamination(organizations, fix=True)
            examination.locked_users = users_to_lock
            issues = examination.run()
        repaired += [issue for issue in issues if issue.is_error]
        if examination.unlogged_users <= users_to_lock:
            return repaired
        # The memberships of other users now differ from the log, because of a repair
        # or because someone else has changed them. Lock these users, and repeat.
        users_to_lock = examination.unlogged_users


class BatchExamination:
    """Checks a batch of organizations.

    With `fix`, each check repairs the errors that it finds. In this case, the caller
    must lock the organizations, and set `locked_users` to the IDs of the users that it
    has locked. Only their memberships are added to the membership log.
    """

    def __init__(
        self, organizations: Sequence[Organization], *, fix: bool = False
    ) -> None:
        self.organizations = organizations
        self.fix = fix
        self.by_pk = {organization.pk: organization for organization in organizations}
        self.owners: dict[int, GroupOwner] = {}  # by group ID
        self.members: list[GroupMember] = []
        self.locked_users: set[int] = set()
        # The users whose memberships differ from the membership log.
        self.unlogged_users: set[int] = set()

    def run(self) -> list[Issue]:
        issues = self._check_shared_groups()
        # These are loaded now, because the first check may have replaced a group.
        self.owners = self._find_owners()
        self.members = self._list_members()
        issues += self._check_group_names()
        issues += self._check_role_permissions()
        issues += self._check_model_permissions()
        issues += self._check_membership_log()
        issues += self._check_computed_texts()
        issues += self._check_active_admins()
        issues += self._check_contacts()
        issues += self._note_user_permissions()
        issues += self._note_other_groups()
        issues += self._note_members()
        return issues

    def _find_owners(self) -> dict[int, GroupOwner]:
        owners = {}
        for organization in self.organizations:
            for role in ROLES:
                group_id = getattr(organization, role.attname)
                owners[group_id] = GroupOwner(organization, role)
        return owners

    def _list_members(self) -> list[GroupMember]:
        # Memberships that have ended are included, because the number of active admins
        # in lists includes them.
        memberships = Membership.objects.filter(group__in=self.owners)
        annotated: Any = memberships.tell_ended()
        rows = annotated.values_list(
            "group",
            "user",
            "user__username",
            "user__is_active",
            "ends_at",
            "has_ended",
        )
        return [GroupMember(self.owners[row[0]], *row) for row in rows]

    def _check_shared_groups(self) -> list[Issue]:
        """Find, and with `fix` replace, groups of two organizations.

        The database prevents two organizations from having the same group for the same
        role. But a reviewer group may be the admin group of another organization.
        """
        issues = []
        for role, other_role in combinations(ROLES, 2):
            issues += self._check_shared_groups_of(other_role, role)
        return issues

    def _check_shared_groups_of(self, role: Role, other_role: Role) -> list[Issue]:
        """Check the groups of a role that are groups of another organization, too."""
        by_group = {
            getattr(organization, role.attname): organization
            for organization in self.organizations
        }
        others = Organization.objects.filter(**{f"{other_role.attname}__in": by_group})
        issues = []
        for group_id in others.values_list(other_role.attname, flat=True):
            organization = by_group[group_id]
            text = (
                f"its {role.key} group is the {other_role.key} group of another"
                " organization"
            )
            issues.append(Issue(_("shared group"), text, organization))
            if self.fix:
                self._replace_group(organization, role)
        return issues

    def _replace_group(self, organization: Organization, role: Role) -> None:
        """Give an organization a new group for a role.

        The new group is empty, because the members of the shared group belong to the
        other organization.
        """
        series = NameSeries.of(organization.name, role)
        [name] = find_free_names([series], using="default")
        group = Group.objects.create(name=name)
        setattr(organization, role.key, group)
        # Django's own update(), because `OrganizationQuerySet.update()` refuses to swap
        # groups.
        models.QuerySet.update(
            Organization.objects.filter(pk=organization.pk), **{role.key: group}
        )

    def _check_group_names(self) -> list[Issue]:
        """Find, and with `fix` rename, groups without the name of their organization.

        If the name of a group does not end with its role, someone has probably renamed
        the group on purpose. Such a group gets a note, and keeps its name.
        """
        issues = []
        for organization in self.organizations:
            outdated = {}
            for role in ROLES:
                group = getattr(organization, role.key)
                if is_generated(group.name, organization.name, role, organization.pk):
                    continue
                if group.name.endswith(f" {role.suffix}"):
                    text = f"its group “{group}” has an outdated name"
                    issues.append(Issue(_("group name"), text, organization))
                    outdated[role] = group.pk
                else:
                    text = f"its group “{group}” was renamed by hand"
                    issues.append(make_note("renamed group", text, organization))
            if self.fix and outdated:
                give_generated_names(organization, outdated, using="default")
        return issues

    def _check_role_permissions(self) -> list[Issue]:
        """Find, and with `fix` replace, group permissions that differ from the role."""
        stored = OrganizationGroupObjectPermission.objects.filter(group__in=self.owners)
        actual: dict[int, set[Grant]] = defaultdict(set)  # by group ID
        for group_id, pk, name in stored.values_list(
            "group", "content_object", "permission__codename"
        ):
            actual[group_id].add(Grant(pk, name))
        issues = []
        organizations_to_repair = set()
        for group_id, owner in self.owners.items():
            expected = {
                Grant(owner.organization.pk, codename(permission))
                for permission in owner.role.permissions
            }
            missing = expected - actual[group_id]
            if missing:
                issues.append(describe_grants(owner, "lacks", missing))
                organizations_to_repair.add(owner.organization)
            extra = actual[group_id] - expected
            if extra:
                issues.append(describe_grants(owner, "also has", extra))
                organizations_to_repair.add(owner.organization)
        if self.fix and organizations_to_repair:
            self._replace_permissions(organizations_to_repair)
        return issues

    def _replace_permissions(self, organizations: Collection[Organization]) -> None:
        """Give the groups of organizations exactly the permissions of their roles."""
        group_ids: list[int | None] = []
        for organization in organizations:
            group_ids += organization.group_ids
        stored = OrganizationGroupObjectPermission.objects.filter(group__in=group_ids)
        stored.delete()
        grant_permissions(organizations, using="default")

    def _check_model_permissions(self) -> list[Issue]:
        """Find, and with `fix` remove, model-level permissions of groups.

        A model-level permission would apply to all organizations.
        """
        stored = Group.permissions.through.objects.filter(group__in=self.owners)
        issues = []
        for group_id, name in stored.values_list("group", "permission__codename"):
            owner = self.owners[group_id]
            text = f"its {owner.role.key} group has {name} on all organizations"
            issues.append(Issue(_("model-level permission"), text, owner.organization))
        if self.fix:
            stored.delete()
        return issues

    def _check_membership_log(self) -> list[Issue]:
        """Find, and with `fix` add, missing entries of the membership log.

        Sets `unlogged_users`.
        """
        actual, logged = self._read_memberships_and_log()
        joined = {key: actual[key] for key in actual if key not in logged}
        left = {key: logged[key] for key in logged if key not in actual}
        new_ends = {
            key: actual[key]
            for key in actual.keys() & logged.keys()
            if actual[key].ends_at != logged[key].ends_at
        }
        self.unlogged_users = {key.user_pk for key in (joined | left | new_ends)}
        return [
            *self._log_changes(Event.FOUND, joined, "joined"),
            *self._log_changes(Event.LEFT, left, "left"),
            *self._log_changes(Event.END_CHANGED, new_ends, "got another end in"),
        ]

    def _read_memberships_and_log(self) -> tuple[dict[RoleKey, KnownMember], ...]:
        """Return {RoleKey: KnownMember} twice: from the memberships, and from the log.

        Reads both in one query, because someone could join or leave between two
        queries. Skips roles that this release does not know, because it does not know
        their groups.
        """
        members = Membership.objects.current().filter(group__in=self.owners)
        events = MembershipEvent.objects.filter(organization_key__in=self.by_pk)
        joining = events.find_joining_events_of_members().order_by()
        of_members = members.values_list(
            "user", "group", "user__username", "ends_at", Value("")
        )
        of_log = joining.values_list(
            "user_key", "organization_key", "user_name", "planned_end", "role"
        )
        actual = {}
        logged = {}
        for user_pk, key, username, ends_at, role_key in of_members.union(
            of_log, all=True
        ):
            member = KnownMember(username, ends_at)
            if role_key in ROLES_BY_KEY:
                logged[RoleKey(user_pk, key, ROLES_BY_KEY[role_key])] = member
            elif not role_key:
                owner = self.owners[key]
                role_of_member = RoleKey(user_pk, owner.organization.pk, owner.role)
                actual[role_of_member] = member
        return actual, logged

    def _log_changes(
        self, event: Event, unlogged: Mapping[RoleKey, KnownMember], verb: str
    ) -> list[Issue]:
        """Return an issue for each role whose last change is not in the log.

        With `fix`, adds these changes to the log.
        """
        issues = []
        changes = []
        for key, member in unlogged.items():
            if self.fix and key.user_pk not in self.locked_users:
                # `repair_organizations()` locks this person next, and checks again.
                continue
            organization = self.by_pk[key.organization_pk]
            text = (
                f"the membership log does not say that {member.username} {verb} its"
                f" {key.role.key} group"
            )
            issues.append(Issue(_("membership log"), text, organization))
            changes.append(
                MembershipChange(
                    event,
                    user_key=key.user_pk,
                    user_name=member.username,
                    organization_key=organization.pk,
                    organization_name=organization.name,
                    role=key.role,
                    ends_at=None if event is Event.LEFT else member.ends_at,
                )
            )
        if self.fix:
            write_changes(changes, reason=_("Found by the doctor."))
        return issues

    def _check_computed_texts(self) -> list[Issue]:
        """Find, and with `fix` update, outdated search texts, name keys and sort names.

        During an upgrade, the previous release does not update columns that are new.
        """
        outdated = [
            organization
            for organization in self.organizations
            if organization.has_outdated_texts()
        ]
        if self.fix:
            pks = [organization.pk for organization in outdated]
            Organization.objects.write_computed_texts(pks, {"name"})
        text = "a search does not find its current name, reference or address"
        return [
            Issue(_("search text"), text, organization) for organization in outdated
        ]

    def _check_contacts(self) -> list[Issue]:
        """Find, and with `fix` update, contacts without a sort name.

        During an upgrade, the previous release saves contacts without a sort name.
        """
        unsorted = Contact.objects.filter(organization__in=self.by_pk, sort_name="")
        issues = []
        for contact in unsorted.exclude(name=""):
            text = f"lists show its contact “{contact}” in the wrong place"
            organization = self.by_pk[contact.organization_id]
            issues.append(Issue(_("contact order"), text, organization))
            if self.fix:
                contact.save(update_fields=["sort_name"])
        return issues

    def _check_active_admins(self) -> list[Issue]:
        """Find, and with `fix` correct, wrong numbers and wrong ends of active admins.

        `admins_end_at` is when the last active admin loses access, if ever. Database
        triggers update both columns. If one of them is wrong, someone has changed
        memberships without the triggers.
        """
        ends: dict[int, list[datetime | None]] = defaultdict(list)
        for member in self.members:
            if member.is_active:
                ends[member.group_id].append(member.ends_at)
        issues = []
        for organization in self.organizations:
            ends_of_admins = ends[getattr(organization, ADMIN.attname)]
            number = len(ends_of_admins)
            if organization.admins_end_at != find_last_end(ends_of_admins):
                text = "its lists show the wrong end of the last admin's access"
                issues.append(Issue(_("end of admins"), text, organization))
            if organization.active_admins != number:
                text = (
                    f"its lists count {organization.active_admins} active admins"
                    f" instead of {number}"
                )
                issues.append(Issue(_("active admins"), text, organization))
        if self.fix:
            pks = [issue.organization.pk for issue in issues if issue.organization]
            Organization.objects.count_active_admins(pks)
        return issues

    def _note_user_permissions(self) -> list[Issue]:
        """Return notes about object permissions of users. No role needs them."""
        stored = OrganizationUserObjectPermission.objects.filter(
            content_object__in=self.by_pk
        )
        notes = []
        for pk, name, username in stored.values_list(
            "content_object", "permission__codename", "user__username"
        ):
            text = f"the user “{username}” has {name}"
            notes.append(make_note("personal permission", text, self.by_pk[pk]))
        return notes

    def _note_other_groups(self) -> list[Issue]:
        """Return notes about object permissions of groups that are not role groups."""
        stored = OrganizationGroupObjectPermission.objects.filter(
            content_object__in=self.by_pk
        ).exclude(group__in=self.owners)
        notes = []
        for pk, name, group_name in stored.values_list(
            "content_object", "permission__codename", "group__name"
        ):
            text = f"the group “{group_name}” has {name}"
            notes.append(make_note("permission of another group", text, self.by_pk[pk]))
        return notes

    def _note_members(self) -> list[Issue]:
        """Return notes: organizations without an active admin, and inactive members."""
        members = [member for member in self.members if not member.has_ended]
        active_group_ids = {member.group_id for member in members if member.is_active}
        notes = []
        for organization in self.organizations:
            if getattr(organization, ADMIN.attname) not in active_group_ids:
                text = "nobody looks after it"
                notes.append(make_note("no active admin", text, organization))
        for member in members:
            if not member.is_active:
                text = (
                    f"{member.username} is in its {member.owner.role.key} group, but"
                    " cannot sign in"
                )
                notes.append(
                    make_note("inactive member", text, member.owner.organization)
                )
        return notes


def make_note(kind: str, text: str, organization: Organization) -> Issue:
    """Return an issue that is not an error, but worth knowing."""
    return Issue(kind, text, organization, is_error=False)


def describe_grants(owner: GroupOwner, verb: str, grants: Collection[Grant]) -> Issue:
    listed = ", ".join(str(grant) for grant in sorted(grants))
    text = f"its {owner.role.key} group {verb}: {listed}"
    return Issue(_("permissions"), text, owner.organization)
