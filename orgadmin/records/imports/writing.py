"""Writing a batch of planned rows: organizations, roles and invitations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from orgadmin.models import Invitation, Membership, Organization, User
from orgadmin.people import outbox
from orgadmin.people.changes import RoleChange
from orgadmin.people.invitations import invite, is_offered
from orgadmin.people.mail import send_invitation
from orgadmin.people.membership import change_roles
from orgadmin.records.imports.planning import PlannedRow


@dataclass(frozen=True)
class WrittenBatch:
    """The changes that a batch of rows made in the database."""

    created: list[Organization]
    changed: list[Organization]
    role_changes: list[RoleChange]
    invitations: list[Invitation]
    # {(user ID, organization ID): previous end of the membership}
    previous_ends: dict[tuple[int, int], datetime] = field(default_factory=dict)
    # In a dry run, {line: names that the groups of a new organization would get}
    planned_groups: dict[int, list[str]] = field(default_factory=dict)

    def find_touched(self) -> set[int]:
        """Return the IDs of organizations that were created or changed in any way."""
        touched = {organization.pk for organization in self.created + self.changed}
        touched.update(change.organization.pk for change in self.role_changes)
        touched.update(invitation.organization_id for invitation in self.invitations)
        return touched


def write_batch(rows: Sequence[PlannedRow], *, actor: User | None) -> WrittenBatch:
    """Write the planned changes. The caller must send the mail about role changes.

    Raises `Organization.DoesNotExist`, `PermissionDenied` or a `DatabaseError` if
    people, organizations or permissions have changed since the rows were planned,
    `LastAdminError` if an organization would have no active admin, and `EndInThePast`
    if a role would end in the past.
    """
    created = [row.organization for row in rows if row.is_new]
    Organization.objects.bulk_create(created)
    changed = []
    for row in rows:
        if row.old_values and not row.is_new:
            row.organization.save(update_fields=list(row.old_values))
            changed.append(row.organization)
    previous_ends = find_ends(rows)
    role_changes = give_roles(rows, actor=actor)
    invitations = invite_people(rows, actor=actor)
    return WrittenBatch(
        created=created,
        changed=changed,
        role_changes=role_changes,
        invitations=invitations,
        previous_ends=previous_ends,
    )


def find_ends(rows: Sequence[PlannedRow]) -> dict[tuple[int, int], datetime]:
    """Return {(user ID, organization ID): current end} for the people in the rows.

    Leaves out memberships without an end.
    """
    user_pks: set[int] = set()
    organizations: dict[int | None, int] = {}
    for row in rows:
        users = {person.user.pk for person in row.people if person.user is not None}
        if users and not row.is_new:
            user_pks |= users
            for group_id in row.organization.group_ids:
                organizations[group_id] = row.organization.pk
    if not user_pks:
        return {}
    memberships = Membership.objects.current().filter(
        user__in=user_pks, group__in=organizations, ends_at__isnull=False
    )
    return {
        (row.user_id, organizations[row.group_id]): row.ends_at
        for row in memberships
        if row.ends_at is not None
    }


def give_roles(rows: Sequence[PlannedRow], *, actor: User | None) -> list[RoleChange]:
    """Give roles to the people who do not need an invitation. Returns the changes."""
    wanted = []
    for row in rows:
        for person in row.people:
            if person.user is not None:
                change = RoleChange(
                    person.user, row.organization, person.role, end=person.end
                )
                wanted.append(change)
    if not wanted:
        return []
    return change_roles(wanted, actor=actor, notify=False)


def invite_people(
    rows: Sequence[PlannedRow], *, actor: User | None
) -> list[Invitation]:
    """Invite the people without an account, unless they were offered the same role."""
    if actor is None:
        # An invitation names its sender. Without an actor, the planner refuses everyone
        # who would be invited.
        return []
    invitations = []
    for row in rows:
        for person in row.people:
            if person.user is not None:
                continue
            current = row.organization.invitations.to_email(person.email).first()
            if is_offered(current, person.role, person.end):
                continue
            invitation = invite(
                row.organization,
                person.email,
                person.role,
                actor=actor,
                is_limited=False,
                ends_at=person.end.at if person.end is not None else None,
            )
            outbox.enqueue(send_invitation, invitation=invitation.pk)
            invitations.append(invitation)
    return invitations
