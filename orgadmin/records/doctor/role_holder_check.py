"""The doctor's check of the `RoleHolder` rows, which filter lists of people by role."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from datetime import datetime

from django.db import transaction
from django.db.models import Max
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_noop as _

from orgadmin.access.roles import ROLES
from orgadmin.models import Membership, Organization, RoleHolder, User
from orgadmin.models.guards import lock_users
from orgadmin.models.role_holder import NEVER
from orgadmin.records.doctor.doctor import Issue

WRONG_ROLE_HOLDER = _("role holder")

BATCH = 5_000  # people


def examine_role_holders(*, fix: bool = False) -> Iterator[Issue]:
    """Yield the people for whom the filters of the list of people are wrong.

    Database triggers update the rows. If a row is wrong, someone has changed
    memberships without the triggers. With `fix`, repairs the rows.
    """
    last_pk = 0
    while True:
        users = User.objects.filter(pk__gt=last_pk).order_by("pk")
        names = dict(users.values_list("pk", "username")[:BATCH])
        if not names:
            break
        for pk in find_wrong_rows(names):
            if fix:
                repair_row(pk)
            text = f"the list of people has wrong roles for {names[pk]}"
            yield Issue(WRONG_ROLE_HOLDER, text)
        last_pk = max(names)


def find_wrong_rows(pks: Collection[int]) -> list[int]:
    """Return the IDs of people whose row is wrong, missing, or not needed."""
    expected = find_expected_ends(pks)
    stored = {row.pk: row for row in RoleHolder.objects.filter(pk__in=pks)}
    active = User.objects.filter(pk__in=stored, is_active=True)
    active_pks = set(active.values_list("pk", flat=True))
    wrong = []
    for pk in sorted(expected.keys() | stored.keys()):
        row = stored.get(pk)
        is_right = row is not None and read_ends(row) == expected.get(pk)
        # `may_be_inactive` may be False only for active people.
        if row is not None and not row.may_be_inactive:
            is_right = is_right and pk in active_pks
        if not is_right:
            wrong.append(pk)
    return wrong


def find_expected_ends(pks: Collection[int]) -> dict[int, dict[str, datetime]]:
    """Return {user ID: {role key: latest end}}. Leaves out people without a role."""
    ends_by_user_pk: dict[int, dict[str, datetime]] = defaultdict(dict)
    for role in ROLES:
        field = Organization._meta.get_field(role.key)
        owner = f"group__{field.remote_field.related_name}"  # type: ignore[union-attr]
        # The triggers also include memberships that have ended.
        memberships = Membership.objects.filter(
            user__in=pks, **{f"{owner}__isnull": False, f"{owner}__archived_at": None}
        )
        latest = memberships.order_by().values_list("user")
        for pk, end in latest.annotate(latest=Max(Coalesce("ends_at", NEVER))):
            ends_by_user_pk[pk][role.key] = end
    return ends_by_user_pk


def read_ends(row: RoleHolder) -> dict[str, datetime]:
    """Return {role key: latest end} as a row has stored it."""
    ends = {role.key: getattr(row, f"{role.key}_until") for role in ROLES}
    return {key: end for key, end in ends.items() if end is not None}


@transaction.atomic
def repair_row(pk: int) -> None:
    """Recreate a person's row from their memberships."""
    users = lock_users([pk], using="default")
    RoleHolder.objects.filter(pk=pk).delete()
    ends = find_expected_ends([pk])[pk]
    if users and ends:
        values = {f"{key}_until": end for key, end in ends.items()}
        may_be_inactive = not users[0].is_active
        RoleHolder.objects.create(pk=pk, may_be_inactive=may_be_inactive, **values)
