"""Undoing an import: restores what it changed, and deletes what it created.

Whatever was changed after the import stays as it is, and is listed. A superuser first
sees a plan, which is based on the current data. When they confirm it, the plan is made
again. The import is undone only if both plans are the same.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _, gettext_lazy, gettext_noop

from orgadmin.access import audit_log
from orgadmin.access.origin import UNDO, by_means_of
from orgadmin.access.roles import ROLES, ROLES_BY_KEY, Role
from orgadmin.access.rule import is_active_superuser
from orgadmin.models import (
    Contact,
    Import,
    ImportPart,
    Invitation,
    Membership,
    Organization,
    User,
)
from orgadmin.models.guards import LastAdminError
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.membership import change_roles
from orgadmin.records.batches import read_in_batches
from orgadmin.records.imports.parts import PartList, PartWriter

# Why something is not undone
ORGANIZATION_GONE = gettext_lazy("was archived or deleted")
ORGANIZATION_CHANGED = gettext_lazy("was changed after the import")
ORGANIZATION_HAS_MORE = gettext_lazy("now has people, contacts or invitations")
REFERENCE_TAKEN = gettext_lazy("another organization has its reference now")
ROLE_CHANGED = gettext_lazy("someone’s role was changed after the import")
INVITATION_GONE = gettext_lazy("an invitation was accepted or revoked after the import")

# The reason in the membership log when roles are restored
REASON = gettext_noop("An import was undone.")

# The maximum number of organizations that a message names
MAX_NAMES_SHOWN = 10

Item = Mapping[str, Any]  # what a row has changed, as in `make_change_item()`
Member = tuple[int, str]  # user ID, key of the role


class AlreadyUndone(Exception):
    """The import was undone before, has not been carried out, or is too old."""


class UndoOutdated(Exception):
    """Undoing the import would do something else than its plan has shown."""


@dataclass(frozen=True)
class Kept:
    """Something that is not undone, for example because it was changed afterwards."""

    line: int
    key: int
    name: str
    reason: str | Promise

    def __str__(self) -> str:
        name = self.name or _("ID %d") % self.key
        place = _("line %d") % self.line
        return f"{place}, {name}{_(':')} {self.reason}"


@dataclass
class UndoPlan:
    """What undoing an import does."""

    deleted: list[Organization] = field(default_factory=list)
    # (organization, {field: value before the import})
    restored: list[tuple[Organization, dict[str, Any]]] = field(default_factory=list)
    roles: list[RoleChange] = field(default_factory=list)
    invitations: list[Invitation] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.deleted or self.restored or self.roles or self.invitations)

    @property
    def digest(self) -> str:
        """A hash that identifies what a person has seen."""
        content = (
            [row.pk for row in self.deleted],
            [(row.pk, sorted(values.items())) for row, values in self.restored],
            [list_role_values(change) for change in self.roles],
            [invitation.pk for invitation in self.invitations],
            [(row.line, row.key) for row in self.kept],
        )
        return hashlib.sha256(repr(content).encode("utf-8", "replace")).hexdigest()

    def count(self) -> dict[str, int]:
        return {
            "deleted": len(self.deleted),
            "restored": len(self.restored),
            "roles": len(self.roles),
            "invitations": len(self.invitations),
            "kept": len(self.kept),
        }


def list_role_values(change: RoleChange) -> tuple[Any, ...]:
    role = change.role.key if change.role else None
    return (change.user.pk, change.organization.pk, role, change.end)


def may_undo(stored: Import) -> bool:
    """Return whether an import is done, and its changes are still stored."""
    if stored.state != Import.State.DONE:
        return False
    return stored.parts.filter(kind=ImportPart.Kind.CHANGES).exists()


def plan_undo(stored: Import, *, actor: User) -> UndoPlan:
    """Return what undoing an import would do now.

    In a transaction, locks the organizations until it ends. Runs about 8 queries per
    1,000 rows.
    """
    plan = UndoPlan()
    for items in read_in_batches(PartList(stored, ImportPart.Kind.CHANGES)):
        _Planner(items, plan, actor).run()
    return plan


class _Planner:
    """Plans how to undo a batch of rows."""

    def __init__(self, items: list[Item], plan: UndoPlan, actor: User) -> None:
        self.items = items
        self.plan = plan
        pks = [item["organization"] for item in items]
        changeable = Organization.objects.permitted(actor, "change")
        if transaction.get_connection().in_atomic_block:
            rows = Organization.objects.filter(pk__in=pks).order_by("pk")
            list(rows.select_for_update(no_key=True).values_list("pk"))
        self.organizations = changeable.in_bulk(pks)
        self.members = self._find_members()
        self.invitations = self._find_invitations()
        contacts = Contact.objects.filter(organization__in=pks)
        self.with_contacts = set(contacts.values_list("organization", flat=True))
        self.owners = self._find_owners()
        user_pks = {role["user"] for item in items for role in item["roles"]}
        self.users = User.objects.in_bulk(user_pks)

    def _find_members(self) -> dict[int, dict[Member, datetime | None]]:
        """Return {organization ID: {member: end of the membership}}."""
        owners: dict[int | None, tuple[int, Role]] = {}  # by group ID
        for organization in self.organizations.values():
            for role in ROLES:
                group_id = getattr(organization, role.attname)
                owners[group_id] = (organization.pk, role)
        members: dict[int, dict[Member, datetime | None]] = defaultdict(dict)
        for batch in read_in_batches(owners):
            for row in Membership.objects.current().filter(group__in=batch):
                pk, role = owners[row.group_id]
                members[pk][row.user_id, role.key] = row.ends_at
        return members

    def _find_invitations(self) -> dict[int, list[Invitation]]:
        invitations: dict[int, list[Invitation]] = defaultdict(list)
        rows = Invitation.objects.filter(organization__in=self.organizations)
        for invitation in rows.select_related("organization"):
            invitations[invitation.organization_id].append(invitation)
        return invitations

    def _find_owners(self) -> dict[str | None, int]:
        """Return {reference: organization ID} for references that would be restored."""
        references = {item["before"].get("reference") for item in self.items}
        owners = Organization.objects.filter(reference__in=references - {None})
        return dict(owners.values_list("reference", "pk"))

    def run(self) -> None:
        for item in self.items:
            organization = self.organizations.get(item["organization"])
            if organization is None:
                self._keep(item, "", ORGANIZATION_GONE)
            elif item["is_new"]:
                self._plan_created(item, organization)
            else:
                self._plan_changed(item, organization)

    def _keep(self, item: Item, name: str, reason: str | Promise) -> None:
        kept = Kept(item["line"], item["organization"], name, reason)
        self.plan.kept.append(kept)

    def _plan_created(self, item: Item, organization: Organization) -> None:
        if has_changed(item, organization):
            self._keep(item, organization.name, ORGANIZATION_CHANGED)
        elif self._has_more(item, organization):
            self._keep(item, organization.name, ORGANIZATION_HAS_MORE)
        else:
            self.plan.deleted.append(organization)

    def _has_more(self, item: Item, organization: Organization) -> bool:
        """Return whether something was added to an organization after the import."""
        given = {(role["user"], role["role"]) for role in item["roles"]}
        invited = {invitation.pk for invitation in self.invitations[organization.pk]}
        return (
            organization.pk in self.with_contacts
            or not self.members[organization.pk].keys() <= given
            or not invited <= set(item["invitations"])
        )

    def _plan_changed(self, item: Item, organization: Organization) -> None:
        before = item["before"]
        if has_changed(item, organization):
            self._keep(item, organization.name, ORGANIZATION_CHANGED)
        elif self._is_reference_taken(before.get("reference"), organization):
            self._keep(item, organization.name, REFERENCE_TAKEN)
        elif before:
            self.plan.restored.append((organization, before))
        for role in item["roles"]:
            self._plan_role(item, organization, role)
        self._plan_invitations(item, organization)

    def _is_reference_taken(
        self, reference: str | None, organization: Organization
    ) -> bool:
        owner = self.owners.get(reference)
        return owner is not None and owner != organization.pk

    def _plan_role(
        self, item: Item, organization: Organization, role: Mapping[str, Any]
    ) -> None:
        """Plan to restore a role and its end, unless they changed after the import.

        If the person had no role before, or one that would have ended by now, their
        role is removed.
        """
        user = self.users.get(role["user"])
        members = self.members[organization.pk]
        given = (role["user"], role["role"])
        is_unchanged = given in members and members[given] == read_time(role["end"])
        is_restorable = not role["before"] or role["before"] in ROLES_BY_KEY
        if user is None or not is_unchanged or not is_restorable:
            self._keep(item, organization.name, ROLE_CHANGED)
            return
        before = ROLES_BY_KEY[role["before"]] if role["before"] else None
        ends_at = read_time(role["end_before"])
        if ends_at is not None and ends_at <= timezone.now():
            before = None
        end = MembershipEnd(ends_at) if before else None
        self.plan.roles.append(RoleChange(user, organization, before, end=end))

    def _plan_invitations(self, item: Item, organization: Organization) -> None:
        found = {row.pk: row for row in self.invitations[organization.pk]}
        for pk in item["invitations"]:
            if pk in found:
                self.plan.invitations.append(found[pk])
            else:
                self._keep(item, organization.name, INVITATION_GONE)


def has_changed(item: Item, organization: Organization) -> bool:
    """Return whether a value that the import has written was changed afterwards."""
    return any(
        getattr(organization, name) != value for name, value in item["after"].items()
    )


def read_time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


@transaction.atomic
def undo_import(
    stored: Import, *, actor: User, seen: str, send_mail: bool = False
) -> UndoPlan:
    """Undo an import. `seen` is the digest of the plan that the person has confirmed.

    Raises `PermissionDenied` if the actor is not a superuser, `AlreadyUndone`,
    `UndoOutdated` if the current plan differs, and `LastAdminError` if an organization
    would have no active admin.
    """
    if not is_active_superuser(actor):
        raise PermissionDenied
    locked = Import.objects.select_for_update(no_key=True).get(pk=stored.pk)
    if not may_undo(locked):
        raise AlreadyUndone
    plan = plan_undo(locked, actor=actor)
    if plan.digest != seen:
        raise UndoOutdated
    with by_means_of(UNDO):
        change_roles(plan.roles, actor=actor, reason=REASON, notify=send_mail)
        revoke_invitations(plan.invitations, actor=actor)
        restore_values(plan.restored, actor=actor)
        deleted = [organization.pk for organization in plan.deleted]
        for batch in read_in_batches(deleted):
            Organization.objects.filter(pk__in=batch).delete(actor=actor)
        record_undo(locked, plan, actor=actor)
    return plan


def explain_not_undone(error: Exception) -> str:
    """Return why nothing was undone."""
    if isinstance(error, LastAdminError):
        names = ", ".join(str(row) for row in error.organizations[:MAX_NAMES_SHOWN])
        return (
            _(
                "Nothing was undone, because no active admin would be left in: %s. Make"
                " someone else an admin there first."
            )
            % names
        )
    if isinstance(error, AlreadyUndone):
        return _("This import has already been undone, or it is too old to be undone.")
    return _(
        "Nothing was undone, because something has changed in the meantime. Check again"
        " what would be undone."
    )


def restore_values(
    restored: Iterable[tuple[Organization, dict[str, Any]]], *, actor: User
) -> None:
    """Restore the previous values of organizations."""
    for organization, values in restored:
        for name, value in values.items():
            setattr(organization, name, value)
        # django-simple-history uses this user as the author of the change.
        organization._history_user = actor  # type: ignore[attr-defined]
        organization.save(update_fields=list(values))


def revoke_invitations(invitations: Collection[Invitation], *, actor: User) -> None:
    pks = [invitation.pk for invitation in invitations]
    for batch in read_in_batches(pks):
        rows = Invitation.objects.filter(pk__in=batch)
        rows.revoke(actor=actor, reason=REASON)


def record_undo(stored: Import, plan: UndoPlan, *, actor: User) -> None:
    """Record that the import was undone, with a list of what was not undone."""
    kept = PartWriter(ImportPart.Kind.SKIPPED)
    for row in plan.kept:
        kept.add(str(row))
    kept.save(stored)
    stored.state = Import.State.UNDONE
    stored.undone_at = timezone.now()
    stored.undone_by_key = actor.pk
    stored.notice = ""
    stored.summary["undone"] = plan.count()
    stored.save()
    audit_log.record(
        audit_log.SecurityEvent.IMPORT_UNDONE,
        actor=actor,
        details={"sha256": stored.sha256, **plan.count()},
    )
