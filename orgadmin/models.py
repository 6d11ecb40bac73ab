"""The models: people, organizations and who may do what with them."""

from contextlib import contextmanager
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import AbstractUser, Permission, UserManager
from django.core.validators import RegexValidator
from django.db import models, router, transaction
from django.db.models import CASCADE, CheckConstraint, F, Q, UniqueConstraint
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase
from simple_history.models import HistoricalRecords

from .groups import create_groups, rename_groups
from .ledger import Event, MembershipEventQuerySet, refuse
from .querysets import OrganizationQuerySet, UserQuerySet
from .roles import ROLES
from .search import SearchTextField

# Control characters, lone surrogates, and marks that turn the direction, so that one name looks like another.
UNPRINTABLE = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\u202a-\u202e\u2066-\u2069"
_text = _("This has a character that cannot be shown. Type it anew.")
_line = _(
    "This has a line break or a character that cannot be shown. Type it anew, on one line."
)
_taken = {
    "violation_error_message": _(
        "Somebody else has this e-mail address. Use another one, or leave it empty."
    )
}
TEXT = RegexValidator(f"[{UNPRINTABLE}]", _text, "unprintable", inverse_match=True)
LINE = RegexValidator(
    rf"[\t\n\r{UNPRINTABLE}]", _line, "unprintable", inverse_match=True
)
UNTRACKED = [
    "search_text",
    *(role.key for role in ROLES),
]  # the fields of an organization that have no history


class PeopleManager(UserManager.from_queryset(UserQuerySet)):
    use_in_migrations = False


class DeletedBySet:
    """Deletes by the queryset, so that an instance leaves as little behind as a thousand rows do."""

    def delete(self, using=None, keep_parents=False):
        using = using or router.db_for_write(type(self), instance=self)
        if self.pk is None:
            return super().delete(using=using)  # raises
        deleted = type(self)._base_manager.using(using).filter(pk=self.pk).delete()
        self.pk = None  # as Django leaves what is deleted
        return deleted

    delete.alters_data = True


class User(DeletedBySet, AbstractUser):
    objects = PeopleManager()

    class Meta(AbstractUser.Meta):
        base_manager_name = "objects"  # no way round the queryset's delete()
        constraints = [
            UniqueConstraint(
                Lower("email"),
                name="unique_user_email",
                condition=~Q(email=""),
                **_taken,
            )
        ]


class Records(HistoricalRecords):
    """django-simple-history's records, written by OrganizationQuerySet.keep_history()."""

    def post_save(
        self, instance, created, using, raw=False, update_fields=None, **kwargs
    ):
        if created and not raw:  # save() completes what is new
            return
        rows, user = (
            type(instance)._base_manager.using(using),
            getattr(instance, "_history_user", None),
        )
        if (
            raw or update_fields is not None
        ):  # the instance may hold what is not stored, or no text at all
            rows.write_search_text(
                [instance.pk], {"name"} if raw else set(update_fields)
            )
        if not raw:
            rows.keep_history([instance.pk], "~", user)

    def post_delete(self, instance, using=None, **kwargs): ...


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


class Contact(models.Model):
    """A person whom an organization names. Who may see or change the organization may see or change its contacts."""

    organization = models.ForeignKey(
        Organization, CASCADE, related_name="contacts", verbose_name=_("organization")
    )
    name = models.CharField(_("name"), max_length=255, validators=[LINE])
    role = models.CharField(_("role"), max_length=100, blank=True, validators=[LINE])
    email = models.EmailField(_("e-mail"), blank=True, validators=[LINE])
    phone = models.CharField(_("phone"), max_length=50, blank=True, validators=[LINE])

    class Meta:
        verbose_name, verbose_name_plural = _("contact"), _("contacts")
        ordering = ["name", "pk"]
        indexes = [models.Index(fields=["name", "id"], name="contact_name")]

    def __str__(self):
        return self.name


class OrganizationUserObjectPermission(UserObjectPermissionBase):
    """An object permission of one person. No role uses it; whoever grants one by hand finds it obeyed."""

    # The unique index begins with user and permission: no further index for these.
    user = models.ForeignKey(User, on_delete=CASCADE, db_index=False)
    permission = models.ForeignKey(Permission, on_delete=CASCADE, db_index=False)
    content_object = models.ForeignKey(
        Organization, on_delete=CASCADE, related_name="user_grants"
    )


class OrganizationGroupObjectPermission(GroupObjectPermissionBase):
    group = models.ForeignKey("auth.Group", on_delete=CASCADE, db_index=False)
    permission = models.ForeignKey(Permission, on_delete=CASCADE, db_index=False)
    content_object = models.ForeignKey(
        Organization, on_delete=CASCADE, related_name="group_grants"
    )


class Invitation(models.Model):
    """A role in an organization offered to whoever reads the mail at an address; gone when accepted or withdrawn."""

    organization = models.ForeignKey(
        Organization, on_delete=CASCADE, related_name="invitations"
    )
    email = models.EmailField(_("e-mail"))
    role = models.CharField(
        max_length=20, choices=[(role.key, role.label) for role in ROLES]
    )
    invited_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    sent_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["email"]
        constraints = [
            UniqueConstraint("organization", Lower("email"), name="unique_invitation")
        ]

    def __str__(self):
        return self.email

    @property
    def expired(self):
        return self.sent_at <= timezone.now() - timedelta(days=settings.INVITATION_DAYS)


class MembershipEvent(models.Model):
    """A line of the ledger. Keys and names are plain values: nobody's deletion is blocked by it, or erases it."""

    at = models.DateTimeField(_("when"), default=timezone.now)
    event = models.CharField(_("event"), max_length=20, choices=Event.choices)
    user_key = models.BigIntegerField(
        _("user ID"), null=True
    )  # None: invited, and perhaps not known yet
    user_name = models.CharField(
        _("person"), max_length=254
    )  # the user name, or the e-mail of somebody invited
    organization_key = models.BigIntegerField(_("organization ID"))
    organization_name = models.CharField(_("organization"), max_length=255)
    role = models.CharField(
        _("role"), max_length=20, choices=[(role.key, role.label) for role in ROLES]
    )
    actor_key = models.BigIntegerField(
        _("by user ID"), null=True
    )  # None: a command, or not known
    actor_name = models.CharField(_("by"), max_length=150, blank=True)
    reason = models.TextField(_("reason"), blank=True)

    objects = MembershipEventQuerySet.as_manager()

    class Meta:
        verbose_name, verbose_name_plural = (
            _("membership event"),
            _("membership ledger"),
        )
        ordering = ["-pk"]
        base_manager_name = "objects"
        indexes = [
            models.Index(
                fields=["organization_key", "user_key", "id"], name="event_organization"
            ),
            models.Index(fields=["user_key"], name="event_user"),
        ]

    def __str__(self):
        return f"{self.user_name} {self.get_event_display()} {self.organization_name}"

    def save(self, **kwargs):
        return super().save(**kwargs) if self._state.adding else refuse()

    delete = refuse


class SignInAttempt(models.Model):
    """Attempts to sign in with one user name from one address; the key is a hash of both."""

    key = models.CharField(max_length=64, unique=True)
    count = models.PositiveIntegerField()
    since = models.DateTimeField(db_index=True)

    def __str__(self):
        return self.key
