"""The organization model."""

from contextlib import contextmanager

from django.db import models, router, transaction
from django.db.models import CheckConstraint, F, Q
from django.utils.translation import gettext_lazy as _

from orgadmin.access.groups import create_groups, rename_groups
from orgadmin.access.roles import ROLES
from orgadmin.models.fields import SearchTextField
from orgadmin.models.history import UNTRACKED, Records
from orgadmin.models.mixins import DeletedBySet
from orgadmin.models.querysets import OrganizationQuerySet
from orgadmin.models.validators import LINE, TEXT


def _own_group(related_name, label):
    options = {
        "related_name": related_name,
        "verbose_name": label,
        "blank": True,
        "editable": False,
    }
    return models.OneToOneField("auth.Group", on_delete=models.PROTECT, **options)


class Organization(DeletedBySet, models.Model):
    """A company record, which owns the groups of those who may see and change it.
    save(), bulk_create() and delete() keep the invariant: an organization has both groups and all their permissions."""

    name = models.CharField(_("name"), max_length=255, validators=[LINE])
    reference = models.CharField(
        _("reference"),
        max_length=100,
        unique=True,
        null=True,
        blank=True,
        validators=[LINE],
        help_text=_(
            "The key that this record has elsewhere, such as a customer number. Set by platform staff."
        ),
        error_messages={
            "unique": _(
                "Another organization has this reference. Each can be used once."
            )
        },
    )
    website = models.URLField(
        _("website"), max_length=500, blank=True, validators=[LINE]
    )
    email = models.EmailField(_("e-mail"), blank=True, validators=[LINE])
    phone = models.CharField(_("phone"), max_length=50, blank=True, validators=[LINE])
    address = models.TextField(_("address"), blank=True, validators=[TEXT])
    tax_id = models.CharField(_("tax ID"), max_length=50, blank=True, validators=[LINE])
    notes = models.TextField(_("notes"), blank=True, validators=[TEXT])
    search_text = SearchTextField(
        "name", "reference", "address"
    )  # seen by all who see it: nothing confidential
    admin = _own_group("administrators_of", _("admin group"))
    reviewer = _own_group("reviewers_of", _("reviewer group"))

    objects = OrganizationQuerySet.as_manager()
    history = Records(
        excluded_fields=UNTRACKED,
        no_db_index="reference",
        history_id_field=models.BigAutoField(),
    )

    class Meta:
        verbose_name, verbose_name_plural = _("organization"), _("organizations")
        ordering = ["name", "pk"]
        base_manager_name = (
            "objects"  # no way round the queryset's delete() and bulk_create()
        )
        permissions = [
            (
                "view_confidential_organization",
                "Can view confidential fields of organization",
            ),
            ("manage_members_organization", "Can manage members of organization"),
        ]
        indexes = [
            models.Index(fields=[name, "id"], name=f"organization_{name}")
            for name in ("name", "reference")
        ]
        constraints = [
            CheckConstraint(
                name="organization_admin_is_not_reviewer",
                condition=~Q(admin=F("reviewer")),
            )
        ]

    def __str__(self):
        return self.name

    def save(
        self, *, force_insert=False, force_update=False, using=None, update_fields=None
    ):
        """Save; a new organization gets its groups and permissions, those of a renamed one follow.
        One transaction. A new organization takes at most 9 queries, an existing one 5, a rename 5 more. Raises
        ValueError where a group was set by hand, DoesNotExist where somebody deleted what was loaded."""
        using = using or router.db_for_write(type(self), instance=self)
        loaded = (
            field.name
            for field in self._meta.concrete_fields
            if field.attname in self.__dict__
        )
        written = set(loaded if update_fields is None else update_fields)
        arguments = {
            "force_insert": force_insert,
            "force_update": force_update,
            "update_fields": update_fields,
        }
        if not written & {
            "name",
            *(name for role in ROLES for name in (role.key, role.attname)),
        }:
            with transaction.atomic(
                using=using, savepoint=False
            ):  # with the history; no savepoint, as Django's own
                return super().save(using=using, **arguments)
        with transaction.atomic(using=using):
            is_stored = (
                self.pk is not None
                and not force_insert
                and self._keep_groups(written, using)
            )
            if is_stored or force_update or update_fields is not None:
                return super().save(
                    using=using, **arguments
                )  # raises where there is no row
            with self.created_whole([self]):
                create_groups([self], using=using)
                super().save(using=using, **arguments)
                type(self)._base_manager.using(using).complete([self])
            transaction.on_commit(
                lambda: setattr(self, "created_groups", None), using=using
            )

    @property
    def group_ids(self):
        return tuple(getattr(self, role.attname) for role in ROLES)

    @group_ids.setter
    def group_ids(self, ids):
        for role, pk in zip(ROLES, ids):
            setattr(self, role.attname, pk)

    @staticmethod
    @contextmanager
    def created_whole(organizations):
        """Refuse groups of others; make instances what they were where saving fails: keys become somebody else's."""
        for organization in organizations:
            organization.refuse_foreign_groups()
        before = [
            (row, row.pk, row._state.adding, row.group_ids) for row in organizations
        ]
        try:
            yield
        except BaseException:
            for row, *state in before:
                row.pk, row._state.adding, row.group_ids = state
            raise

    def refuse_foreign_groups(self):
        """Raise ValueError where a new organization carries a group that it did not create."""
        if (self.pk is None and not self._state.adding) or getattr(
            self, "created_groups", None
        ) == self.group_ids:
            self.group_ids = [None] * len(
                ROLES
            )  # a copy, or created in a transaction that was rolled back
        elif not self._state.adding:
            raise self.DoesNotExist(
                f"Organization {self.pk} was deleted meanwhile, with its groups. Create a new one."
            )
        if any(self.group_ids):
            raise ValueError(
                "A new organization gets groups of its own: leave 'admin' and 'reviewer' empty."
            )

    def _keep_groups(self, written, using):
        """Keep the groups of the stored row, now locked, and let them follow a new name; False where there is none."""
        fields = [
            "name",
            *(name for role in ROLES for name in (role.attname, f"{role.key}__name")),
        ]
        rows = type(self)._base_manager.using(using).filter(pk=self.pk)
        stored = next(iter(rows.select_for_update(no_key=True).values(*fields)), None)
        if stored is None:
            return False
        groups = {
            role: (stored[role.attname], stored[f"{role.key}__name"]) for role in ROLES
        }
        for role, (pk, name) in groups.items():
            if self.__dict__.get(role.attname) is None:
                setattr(self, role.attname, pk)
            elif (
                written & {role.key, role.attname} and getattr(self, role.attname) != pk
            ):
                text = f"The group “{name}” of organization {self.pk} cannot be exchanged. Change its members instead."
                raise ValueError(text)
        if "name" in written:
            rename_groups(self, groups, stored["name"], using=using)
        return True
