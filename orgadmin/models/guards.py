"""Guards that protect the last active admin, the last superuser, and credentials.

The code that ends someone's access asks these guards in the transaction that makes the
change, for example when a role is taken away, or when an account is deactivated,
deleted or erased. A membership can expire without asking them.

To prevent deadlocks, all code takes its locks in the same order: rows of users, the
lock of superusers, rows of organizations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from orgadmin.access.batches import split_into_batches
from orgadmin.access.origin import current_request
from orgadmin.access.roles import ADMIN
from orgadmin.access.rule import is_active_superuser
from orgadmin.access.sql import lock_until_commit
from orgadmin.models.membership import Membership

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from orgadmin.models import Organization, User

# The key of the advisory lock that a transaction takes before it removes a superuser.
# Only this module uses this number.
SUPERUSER_LOCK = 0x6F72675375

BATCH = 20_000  # rows in one query, below SQLite's limit of 32,766 parameters


# Fields with which someone can sign in, or receive links to set a password.
CREDENTIALS = {"username", "password", "email"}


class LastAdminError(Exception):
    """A person's change would leave organizations without an active admin.

    Superusers can make such a change after they have confirmed it for each of these
    organizations. Commands can always make it. `describe_refusal()` in
    `admin/last_admin.py` writes the message.
    """

    def __init__(self, organizations: Sequence[Organization]) -> None:
        super().__init__(*organizations)
        self.organizations = organizations


class LastSuperuserError(Exception):
    """A change would leave the site without an active superuser."""

    explanation: Promise = _(
        "The last active superuser must keep their account and their access. Make"
        " someone else a superuser first."
    )

    def __str__(self) -> str:
        return str(self.explanation)


class NotTheirAccount(PermissionDenied):
    """Someone other than a superuser tries to change another person's credentials.

    Otherwise, a user manager could create an account with a password or address of
    their own, wait until it gets a role, and sign in to it.
    """


def protect_credentials(user: User, written: Collection[str]) -> None:
    """Make sure that only the user, superusers and commands change CREDENTIALS.

    `written` are the names of the fields that will be saved. Raises `NotTheirAccount`.
    """
    actor = user.changed_by
    if not CREDENTIALS.intersection(written) or not is_made_by_a_person(actor):
        return
    if actor is not None and (actor == user or is_still_superuser(actor)):
        return
    raise NotTheirAccount


def is_made_by_a_person(actor: User | None) -> bool:
    """Return whether a change is made by a person, not by a command.

    Every change in a request counts as made by a person, so a page that forgets to pass
    the actor does not get the rights of a command.
    """
    return actor is not None or current_request.get() is not None


def lock_users(
    pks: Collection[int] | QuerySet, *, using: str, no_key: bool = True
) -> list[User]:
    """Lock users in the order of their IDs, and return them as stored.

    `pks` are user IDs, or a query that selects them. With `no_key`, the lock is FOR NO
    KEY UPDATE: other transactions can still insert rows that refer to these users.
    """
    users = get_user_model()._base_manager.using(using).filter(pk__in=pks)
    return list(users.order_by("pk").select_for_update(no_key=no_key))


def keep_a_superuser(leaving: Collection[User], *, using: str) -> None:
    """Raise `LastSuperuserError` if no active superuser remains without these users.

    The users must be locked. If one of them is an active superuser, other transactions
    that remove a superuser wait until this one ends.
    """
    if not any(is_active_superuser(user) for user in leaving):
        return
    # Locking the rows of all superusers instead would cause a deadlock if two of them
    # remove each other.
    lock_until_commit(SUPERUSER_LOCK, using=using)
    if not is_another_superuser_left(leaving, using=using):
        raise LastSuperuserError


def is_another_superuser_left(
    leaving: Collection[User], *, using: str = "default"
) -> bool:
    """Return whether there is an active superuser besides these users."""
    users = get_user_model()._base_manager.using(using)
    superusers = users.filter(is_superuser=True, is_active=True)
    return superusers.exclude(pk__in=[user.pk for user in leaving]).exists()


def is_last_superuser(user: User) -> bool:
    """Return whether a user is the only active superuser."""
    if not is_active_superuser(user):
        return False
    return not is_another_superuser_left([user])


def keep_admins(
    leaving: Collection[User],
    *,
    actor: User | None,
    confirmed: Collection[int],
    using: str,
) -> None:
    """Raise `LastAdminError` if an organization would lose its last active admin.

    This checks what happens when the users in `leaving`, who must be locked, stop being
    admins everywhere. Archived organizations are left out, and commands can do this to
    all organizations. Superusers can do it to the organizations in `confirmed`, which
    are the IDs of those for which they have confirmed it.
    """
    pks = {user.pk for user in leaving if user.is_active}
    if not pks:
        return
    organizations = list_administered(pks, using=using).select_for_update(no_key=True)
    leaving_admins = dict.fromkeys(organizations.order_by("pk"), pks)
    require_confirmation(
        find_losing_last_admin(leaving_admins, using=using),
        actor=actor,
        confirmed=confirmed,
    )


def find_orphaned_by(leaving: Collection[User]) -> list[Organization]:
    """Return the organizations whose only active admins are among these users.

    Leaves out archived organizations. Sorts them by name.
    """
    pks = {user.pk for user in leaving if user.is_active}
    organizations = list_administered(pks, using="default").order_by("name", "pk")
    return find_losing_last_admin(dict.fromkeys(organizations, pks))


def list_administered(pks: Collection[int], *, using: str) -> QuerySet[Organization]:
    """Return the organizations in which at least one of these users is an admin."""
    Organization = apps.get_model("orgadmin", "Organization")
    memberships = Membership.objects.using(using).current()
    groups = memberships.filter(user__in=pks).values("group")
    organizations = Organization._base_manager.using(using)
    return organizations.filter(**{f"{ADMIN.key}__in": groups})


def find_losing_last_admin(
    leaving: Mapping[Organization, Collection[int]], *, using: str = "default"
) -> list[Organization]:
    """Return the organizations that lose their last active admin.

    `leaving` is {organization: IDs of users who stop being its admins}. Archived
    organizations are left out: they do not need an admin, and the page for restoring
    one shows whether it has any.
    """
    group_ids = [getattr(organization, ADMIN.attname) for organization in leaving]
    admins_by_group = find_active_members(group_ids, using=using)
    organizations = []
    for organization, pks in leaving.items():
        active_admins = admins_by_group[getattr(organization, ADMIN.attname)]
        if active_admins and active_admins <= set(pks):
            organizations.append(organization)
    return leave_out_archived(organizations, using=using)


def leave_out_archived(
    organizations: list[Organization], *, using: str
) -> list[Organization]:
    """Return the organizations that are not archived, in the same order."""
    if not organizations:
        return []
    Organization = apps.get_model("orgadmin", "Organization")
    archived = set()
    for batch in split_into_batches(organizations, BATCH):
        pks = [organization.pk for organization in batch]
        rows = Organization._base_manager.using(using).filter(pk__in=pks)
        archived |= set(
            rows.exclude(archived_at=None).order_by().values_list("pk", flat=True)
        )
    return [row for row in organizations if row.pk not in archived]


def find_active_members(
    group_ids: Sequence[int], *, using: str = "default"
) -> dict[int, set[int]]:
    """Return {group ID: IDs of the group's active members}."""
    members: dict[int, set[int]] = defaultdict(set)
    memberships = Membership.objects.using(using).current()
    for batch in split_into_batches(group_ids, BATCH):
        rows = memberships.filter(group__in=batch, user__is_active=True)
        for group_id, user_id in rows.values_list("group", "user"):
            members[group_id].add(user_id)
    return members


def require_confirmation(
    orphaned: Sequence[Organization],
    *,
    actor: User | None,
    confirmed: Collection[int],
) -> None:
    """Raise `LastAdminError` unless the organizations may lose their last active admin.

    They may lose it if a command makes the change, or if the actor is a superuser who
    has confirmed it for each of them. `confirmed` are IDs of organizations.
    """
    if not orphaned or not is_made_by_a_person(actor):
        return
    is_confirmed = {organization.pk for organization in orphaned} <= set(confirmed)
    if is_confirmed and actor is not None and is_still_superuser(actor):
        return
    raise LastAdminError(orphaned)


def is_still_superuser(user: User) -> bool:
    """Return whether the user is an active superuser in the database."""
    superusers = get_user_model()._base_manager.filter(
        is_superuser=True, is_active=True
    )
    return superusers.filter(pk=user.pk).exists()
