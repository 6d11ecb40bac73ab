"""Organization: a company record that owns the groups of its members."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from itertools import combinations
from operator import or_
from typing import TYPE_CHECKING, Any

from django.db import models, router, transaction
from django.db.models import F, Q
from django.db.models.base import ModelBase
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from orgadmin.access.groups import StoredGroup, create_groups, rename_groups
from orgadmin.access.roles import CONFIDENTIAL_FIELDS, ROLES, Role
from orgadmin.models.fields import (
    KeptKeyField,
    KeptNumberField,
    KeptTextField,
    KeptTimeField,
    LineEmailField,
    LineField,
    LineURLField,
    LookAlikeKeyField,
    ParagraphsField,
    PhoneField,
    SearchTextField,
    SortTextField,
)
from orgadmin.models.history import UNTRACKED_FIELDS, AuthorValues, OrganizationRecords
from orgadmin.models.mixins import DeletedThroughQuerySet
from orgadmin.models.organization_queryset import (
    OrganizationQuerySet,
    list_computed_fields,
)

if TYPE_CHECKING:
    from django.db.models.expressions import RawSQL
    from django_stubs_ext import StrOrPromise

# When one of these fields is saved, the groups must be checked. The name is included
# because the groups are named after the organization.
GROUP_FIELDS = {
    "name",
    *(role.key for role in ROLES),
    *(role.attname for role in ROLES),
}


# Fields that should not be empty. People who can edit them are reminded of them.
WANTED_FIELDS = ("website", "email", "phone", "address", "tax_id")

# The condition for organizations that lists show.
IS_UNARCHIVED = Q(archived_at=None)


def is_incomplete(empty: str | RawSQL = "") -> Q:
    """Return the condition for organizations in which a wanted field is empty.

    `empty` is the empty text: "" for an index, or an SQL constant for queries.
    """
    conditions = [Q(**{name: empty}) for name in WANTED_FIELDS]
    return reduce(or_, conditions)


def make_group_field(related_name: str, label: StrOrPromise) -> models.OneToOneField:
    """Return the field for the group of a role's members."""
    return models.OneToOneField(
        "auth.Group",
        on_delete=models.PROTECT,
        related_name=related_name,
        verbose_name=label,
        blank=True,
        editable=False,
    )


def make_group_constraints() -> list[models.BaseConstraint]:
    """Return constraints that no group of an organization has two of its roles."""
    constraints: list[models.BaseConstraint] = []
    for role, other_role in combinations(ROLES, 2):
        constraint = models.CheckConstraint(
            name=f"organization_{role.key}_is_not_{other_role.key}",
            condition=~Q(**{role.key: F(other_role.key)}),
        )
        constraints.append(constraint)
    return constraints


class Organization(DeletedThroughQuerySet):
    """A company record, which owns the groups of the people who can view or edit it.

    `save()`, `bulk_create()` and `delete()` maintain this invariant: an organization
    has a group for each role, with all permissions of that role.
    """

    name = LineField(_("name"), max_length=255)
    reference = LineField(
        _("reference"),
        max_length=100,
        unique=True,
        null=True,
        blank=True,
        help_text=_(
            "ID in another system, such as a customer number. Set by platform staff."
        ),
        error_messages={
            "unique": _("Another organization has this reference. Choose another one.")
        },
    )
    website = LineURLField(_("website"), max_length=500, blank=True)
    email = LineEmailField(_("email"), blank=True)
    phone = PhoneField(_("phone"), max_length=50, blank=True)
    address = ParagraphsField(_("address"), max_length=1_000, blank=True)
    tax_id = LineField(_("tax ID"), max_length=50, blank=True)
    notes = ParagraphsField(_("notes"), max_length=20_000, blank=True)
    # Everyone who can view an organization can search this text, so it must not contain
    # confidential fields.
    search_text = SearchTextField("name", "reference", "address")
    # Platform staff who create an organization are warned if the names of other
    # organizations look the same.
    name_key = LookAlikeKeyField("name")
    # Lists are sorted by this field.
    sort_name = SortTextField("name")
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    # When the fields or contacts were last changed. Shown only to people who can see
    # the confidential fields, because the change may concern one of these.
    changed_at = KeptTimeField(_("last change"), db_default=Now())
    # The number of admins whose accounts are active. Includes expired memberships until
    # the worker removes them.
    active_admins = KeptNumberField(_("active admins"), db_default=0)
    # When the last membership of these admins ends. NULL if one of them has no end, and
    # if there are no active admins.
    admins_end_at = KeptTimeField(_("end of all admins"), null=True)
    # When the organization was archived or moved to the trash, and by whom. An
    # organization in the trash is also archived. people/archive.py writes these
    # columns.
    archived_at = KeptTimeField(_("archived"), null=True)
    archived_by_key = KeptKeyField(null=True)
    archived_by_name = KeptTextField(max_length=150, null=True)
    trashed_at = KeptTimeField(_("moved to trash"), null=True)
    trashed_by_key = KeptKeyField(null=True)
    trashed_by_name = KeptTextField(max_length=150, null=True)
    admin = make_group_field("administrators_of", _("admin group"))
    reviewer = make_group_field("reviewers_of", _("reviewer group"))

    objects = OrganizationQuerySet.as_manager()
    history = OrganizationRecords(
        bases=[AuthorValues],
        excluded_fields=UNTRACKED_FIELDS,
        no_db_index="reference",
        history_id_field=models.BigAutoField(),
    )

    # The IDs of the groups that the current transaction has created. None after the
    # commit.
    created_groups: tuple[int | None, ...] | None = None

    class Meta:
        verbose_name = _("organization")
        verbose_name_plural = _("organizations")
        ordering = ["sort_name", "pk"]
        # Django then also uses OrganizationQuerySet for related objects.
        base_manager_name = "objects"
        permissions = [
            (
                "view_confidential_organization",
                "Can view confidential fields of organization",
            ),
            ("manage_members_organization", "Can manage members of organization"),
        ]
        indexes = [
            models.Index(fields=["name", "id"], name="organization_name"),
            models.Index(fields=["reference", "id"], name="organization_reference"),
            models.Index(fields=["name_key"], name="organization_name_key"),
            # Lists leave out archived organizations. With a partial index, databases
            # count the remaining ones without reading the table.
            models.Index(
                fields=["sort_name", "id"],
                name="unarchived_sort_name",
                condition=IS_UNARCHIVED,
            ),
            models.Index(
                fields=["created_at", "id"],
                name="unarchived_created",
                condition=IS_UNARCHIVED,
            ),
            models.Index(
                fields=["changed_at", "id"],
                name="unarchived_changed",
                condition=IS_UNARCHIVED,
            ),
            models.Index(
                fields=["sort_name", "id"],
                name="unarchived_no_admin",
                condition=IS_UNARCHIVED & Q(active_admins=0),
            ),
            models.Index(
                fields=["sort_name", "id"],
                name="unarchived_one_admin",
                condition=IS_UNARCHIVED & Q(active_admins=1),
            ),
            models.Index(
                fields=["admins_end_at"],
                name="unarchived_admins_end",
                condition=IS_UNARCHIVED & Q(admins_end_at__isnull=False),
            ),
            models.Index(
                fields=["sort_name", "id"],
                name="unarchived_incomplete",
                condition=IS_UNARCHIVED & is_incomplete(),
            ),
            models.Index(
                fields=["archived_at", "id"],
                name="organization_archived",
                condition=Q(archived_at__isnull=False),
            ),
            models.Index(
                fields=["trashed_at"],
                name="organization_trashed",
                condition=Q(trashed_at__isnull=False),
            ),
        ]
        constraints = make_group_constraints()

    def __str__(self) -> str:
        return self.name

    def find_missing_fields(self, *, sees_confidential: bool) -> list[str]:
        """Return the names of the WANTED_FIELDS that are empty.

        Without `sees_confidential`, leaves out confidential fields, because it is also
        confidential whether they are empty.
        """
        return [
            name
            for name in WANTED_FIELDS
            if (sees_confidential or name not in CONFIDENTIAL_FIELDS)
            and not getattr(self, name)
        ]

    def save(
        self,
        *,
        force_insert: bool | tuple[ModelBase, ...] = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Save the organization, and create or rename its groups, in one transaction.

        Creating usually runs up to 9 queries, saving up to 5, and renaming up to 5
        more. Raises `ValueError` if the code has set another group, and `DoesNotExist`
        if the row was deleted after the instance was loaded. In the latter case, Django
        raises `DatabaseError` if there are `update_fields`.
        """
        using = using or router.db_for_write(type(self), instance=self)
        written = self._find_written_fields(update_fields)
        options: dict[str, Any] = {
            "using": using,
            "force_insert": force_insert,
            "force_update": force_update,
            "update_fields": update_fields,
        }
        if not written & GROUP_FIELDS:
            # One transaction for the row and its history record, without a savepoint,
            # as in Django's own save().
            with transaction.atomic(using=using, savepoint=False):
                super().save(**options)
            self._forget_kept()
            return
        with transaction.atomic(using=using):
            if self.pk is None or force_insert:
                is_stored = False
            else:
                is_stored = self._check_and_rename_groups(written, using)
            if is_stored or force_update or update_fields is not None:
                # Django raises an error if there is no such row.
                super().save(**options)
                self._forget_kept()
            else:
                self._insert(options)

    def _find_written_fields(self, update_fields: Iterable[str] | None) -> set[str]:
        """Return the names of the fields that `save()` writes.

        Without `update_fields`, these are all fields that are not deferred.
        """
        if update_fields is not None:
            return set(update_fields)
        fields = self._meta.concrete_fields
        return {field.name for field in fields if field.attname in self.__dict__}

    def _insert(self, options: dict[str, Any]) -> None:
        """Insert a new organization with its groups, permissions and first record."""
        using = options["using"]
        with self.restore_on_error([self]):
            create_groups([self], using=using)
            super().save(**options)
            type(self).objects.using(using).complete([self])
        transaction.on_commit(self._forget_created_groups, using=using)

    def has_outdated_texts(self) -> bool:
        """Return whether a computed text does not match the fields it is made from."""
        return any(
            getattr(self, field.attname) != field.compute(self)
            for field in list_computed_fields(type(self))
        )

    def _forget_kept(self) -> None:
        """Forget values that triggers may have changed, so that they are read again."""
        for field in self._meta.concrete_fields:
            if field.generated:
                self.__dict__.pop(field.attname, None)

    def _forget_created_groups(self) -> None:
        self.created_groups = None

    def _check_and_rename_groups(self, written: set[str], using: str) -> bool:
        """Lock the stored row, check its groups, and rename them if the name changes.

        Returns whether the row exists. Raises `ValueError` if the instance has a
        different group than the row.
        """
        stored = self._lock_stored(using)
        if stored is None:
            return False
        groups: dict[Role, StoredGroup] = {}
        for role in ROLES:
            group = StoredGroup(stored[role.attname], stored[f"{role.key}__name"])
            groups[role] = group
            is_written = role.key in written or role.attname in written
            if self.__dict__.get(role.attname) is None:
                setattr(self, role.attname, group.pk)
            elif is_written and getattr(self, role.attname) != group.pk:
                raise ValueError(
                    f"The group “{group.name}” of organization {self.pk} cannot be"
                    " swapped for another. Change its members instead."
                )
        if "name" in written:
            rename_groups(self, groups, stored["name"], using=using)
        return True

    def _lock_stored(self, using: str) -> dict[str, Any] | None:
        """Lock the stored row, and return its name and its groups' IDs and names."""
        columns = ["name"]
        for role in ROLES:
            columns += [role.attname, f"{role.key}__name"]
        rows = type(self)._base_manager.using(using).filter(pk=self.pk)
        locked = rows.select_for_update(no_key=True).values(*columns)
        return next(iter(locked), None)

    @property
    def group_ids(self) -> tuple[int | None, ...]:
        """The IDs of the groups, in the order of ROLES."""
        return tuple(getattr(self, role.attname) for role in ROLES)

    @group_ids.setter
    def group_ids(self, ids: Sequence[int | None]) -> None:
        for role, pk in zip(ROLES, ids):
            setattr(self, role.attname, pk)

    @staticmethod
    @contextmanager
    def restore_on_error(organizations: Sequence[Organization]) -> Iterator[None]:
        """Reset these new organizations if the block that creates them fails.

        The IDs that were assigned in the block are then invalid, because the
        transaction was rolled back. First calls `ensure_no_groups()`, and raises its
        errors.
        """
        for organization in organizations:
            organization.ensure_no_groups()
        states = [
            (organization.pk, organization._state.adding, organization.group_ids)
            for organization in organizations
        ]
        try:
            yield
        except BaseException:
            for organization, (pk, adding, group_ids) in zip(organizations, states):
                organization.pk = pk
                organization._state.adding = adding
                organization.group_ids = group_ids
            raise

    def ensure_no_groups(self) -> None:
        """Make sure that a new organization has no groups yet.

        Clears groups that a copy still has from its original, and groups whose creation
        was rolled back. Raises `ValueError` if the code has set a group, and
        `DoesNotExist` if this is not a new organization, but one whose row was deleted
        after it was loaded.
        """
        is_copy = self.pk is None and not self._state.adding
        # `created_groups` is set when groups are created, and reset after the commit.
        # If it still contains the groups of this instance, and the row is to be
        # inserted again, the transaction that created the groups was rolled back.
        was_rolled_back = self.created_groups == self.group_ids
        if is_copy or was_rolled_back:
            self.group_ids = [None] * len(ROLES)
            # The copy was not created at the same time as its original.
            created_at: Any = self._meta.get_field("created_at")
            self.created_at = created_at.get_default()
        elif not self._state.adding:
            raise self.DoesNotExist(
                f"Organization {self.pk} has been deleted, together with its groups."
                " Create a new one."
            )
        if any(self.group_ids):
            raise ValueError(
                "A new organization gets groups of its own. Leave the fields of its"
                " groups empty."
            )
