"""User: a person who can sign in."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, ClassVar

from django.apps import apps
from django.contrib.auth.models import AbstractUser, UserManager
from django.core.exceptions import ValidationError
from django.db import DatabaseError, models, router, transaction
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.crypto import salted_hmac

# The log stores reasons in English. They are translated where they are shown.
from django.utils.translation import gettext_lazy as _, gettext_noop

from orgadmin.access.origin import current_request
from orgadmin.models.addresses import (
    fold_username,
    is_same_email,
    make_username,
    normalize_email,
)
from orgadmin.models.fields import (
    EmailFoldField,
    LanguageField,
    LineEmailField,
    LineField,
    LookAlikeKeyField,
    PersonSortField,
    TimeZoneField,
    UsernameFoldField,
)
from orgadmin.models.groups_of_users import renew_ended_memberships
from orgadmin.models.guards import (
    is_made_by_a_person,
    keep_a_superuser,
    keep_admins,
    lock_users,
    protect_credentials,
)
from orgadmin.models.look_alikes import lock_key, make_key
from orgadmin.models.mixins import DeletedThroughQuerySet, RemembersStored
from orgadmin.models.naming import is_misleading
from orgadmin.models.user_events import record_changes, record_creation
from orgadmin.models.user_queryset import UserQuerySet

# When one of these fields changes, all sessions of the user end, and their password
# reset links no longer work.
SESSION_FIELDS = {"password", "email", "is_active"}

EMAIL_TAKEN = _(
    "Someone else has this email address. Use another one, or leave it empty."
)


class PeopleManager(UserManager.from_queryset(UserQuerySet)):  # type: ignore[misc]
    use_in_migrations = False

    @classmethod
    def normalize_email(cls, email: str | None) -> str:
        return normalize_email((email or "").strip())

    def get_by_natural_key(self, username: str | None) -> User:
        """Return the user with a username, ignoring case.

        Django's `authenticate()` and its commands find people with this method.
        """
        user = self.find_by_username(username or "")
        if user is None:
            raise self.model.DoesNotExist("Nobody has this username.")
        return user


class CredentialsChanged(DatabaseError):
    """The password was not saved, because the account has changed since it was read.

    For example, someone has deactivated or deleted it, or has ended its sessions.
    """


def clean_django_field(
    name: str, field_class: type[models.CharField] = LineField
) -> models.CharField:
    """Return a field of Django's user model that cleans its text."""
    original: Any = AbstractUser._meta.get_field(name)
    _name, _path, arguments, options = original.deconstruct()
    return field_class(*arguments, **options)


class UncountedAttempt(Exception):
    """A request tried to check a password without counting the attempt.

    If this were allowed, people could guess passwords without limit.
    """


class User(RemembersStored, DeletedThroughQuerySet, AbstractUser):
    """A person who can sign in.

    `save()` does the following:

    - It writes only the fields that have changed since the instance was loaded, so that
      it cannot undo other people's changes. It never inserts a deleted row again.
    - If the email address changes, it updates a username that was made from the
      address.
    - It records changes of credentials and permissions in the audit log, with
      `changed_by` as the person who made them.
    - It asks the guards in `models/guards.py` before it ends someone's access, and
      before it changes credentials.
    - It ends all sessions of the user if one of SESSION_FIELDS changes.
    - It revokes the invitations that a deactivated user has sent.
    """

    username = clean_django_field("username")
    first_name = clean_django_field("first_name")
    last_name = clean_django_field("last_name")
    email = clean_django_field("email", LineEmailField)

    # The email address at which the person is known to receive emails, and when this
    # was verified. `has_verified_email` compares it with the current address.
    verified_email = models.EmailField(
        blank=True, default="", db_default="", editable=False
    )
    email_verified_at = models.DateTimeField(null=True, editable=False)
    # Part of the session hash. Increasing it ends all sessions of the user.
    session_epoch = models.PositiveIntegerField(default=0, db_default=0, editable=False)

    # Blank means the browser's language, or the site's time zone.
    language = LanguageField(
        _("language"),
        max_length=16,
        blank=True,
        default="",
        db_default="",
    )
    time_zone = TimeZoneField(
        _("time zone"),
        max_length=64,
        blank=True,
        default="",
        db_default="",
    )

    # Which emails the person wants. Emails about the security of their account are
    # always sent.
    mail_own_roles = models.BooleanField(
        _("When my role in an organization changes"), default=True, db_default=True
    )
    mail_people = models.BooleanField(
        _("When other people join or leave my organizations, or change their role"),
        default=True,
        db_default=True,
    )
    mail_accepted = models.BooleanField(
        _("When someone accepts an invitation that I sent"),
        default=True,
        db_default=True,
    )

    # `clean()` refuses a new username that looks like another one.
    username_key = LookAlikeKeyField("username")

    # People can sign in with their username or email address in upper or lower case, so
    # both must be unique ignoring case.
    username_fold = UsernameFoldField("username")
    email_fold = EmailFoldField("email")

    sort_name = PersonSortField()

    objects: ClassVar[PeopleManager] = PeopleManager()

    # The person who makes the changes that `save()` will write. None for a command. In
    # a request, None means that the person is not known.
    changed_by: User | None = None

    # Set by `end_sessions()`: whether someone else had already ended the sessions after
    # this instance was loaded.
    were_sessions_ended = False

    # The IDs of organizations for which `changed_by`, a superuser, has confirmed that
    # `save()` may leave them without an active admin.
    confirmed_organizations: Collection[int] = ()

    # Set by `mark_namesakes()`: whether someone else on the page has the same name.
    has_namesake = False

    class Meta:
        verbose_name = _("person")
        verbose_name_plural = _("people")
        # Django then also uses UserQuerySet for related objects.
        base_manager_name = "objects"
        indexes = [
            models.Index(fields=["username_key"], name="user_username_key"),
            models.Index(fields=["sort_name", "id"], name="user_sort_name"),
            models.Index(
                fields=["sort_name", "id"],
                name="user_inactive_by_name",
                condition=Q(is_active=False),
            ),
            models.Index(
                fields=["sort_name", "id"],
                name="user_superuser_by_name",
                condition=Q(is_superuser=True),
            ),
            models.Index(
                fields=["sort_name", "id"],
                name="user_staff_by_name",
                condition=Q(is_staff=True, is_superuser=False),
            ),
            models.Index(
                fields=["sort_name", "id"],
                name="user_never_signed_in_by_name",
                condition=Q(last_login=None),
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["username_fold"],
                name="unique_username_fold",
                condition=Q(username_fold__isnull=False),
            ),
            models.UniqueConstraint(
                fields=["email_fold"],
                name="unique_email_fold",
                condition=Q(email_fold__isnull=False),
            ),
            models.UniqueConstraint(
                Lower("email"),
                name="unique_user_email",
                condition=~Q(email=""),
                violation_error_message=EMAIL_TAKEN,
            ),
        ]

    def clean(self) -> None:
        """Refuse a new username or email address that conflicts with another person's.

        Both must be unique. The username must not look like another one, and must not
        be someone else's email address.
        """
        super().clean()
        errors = {}
        if self.username != self._stored.get("username"):
            errors["username"] = self._find_username_error()
        if self.email and self.email != self._stored.get("email"):
            errors["email"] = self._find_email_error()
        found = {name: error for name, error in errors.items() if error is not None}
        if found:
            raise ValidationError(found)

    def _find_username_error(self) -> ValidationError | None:
        """Return why the person cannot have this username, or None if they can.

        Locks all usernames that look like it until the transaction ends.
        """
        key = make_key(self.username)
        lock_key(key)
        others = type(self).objects.exclude(pk=self.pk)
        if others.find_by_username(self.username):
            message = _(
                "Someone else has this username. Upper and lower case make no"
                " difference. Choose another one."
            )
            return ValidationError(message, code="unique")
        if "@" in self.username and others.find_by_email(self.username):
            message = _(
                "This is the email address of someone else. Choose another username."
            )
            return ValidationError(message, code="email_of_another")
        if others.filter(username_key=key).exists():
            message = _(
                "A username that looks almost the same exists. Choose one that people"
                " can tell apart from it."
            )
            return ValidationError(message, code="look_alike")
        return None

    def _find_email_error(self) -> ValidationError | None:
        """Return why the person cannot have this address, or None if they can."""
        others = type(self).objects.exclude(pk=self.pk)
        if others.find_by_email(self.email):
            return ValidationError(EMAIL_TAKEN, code="unique")
        namesake = others.find_by_username(self.email)
        if namesake is not None and not namesake.email:
            # That person could no longer sign in, because the address would mean this
            # one.
            message = _(
                "Someone else signs in with this address as their username. Give them"
                " another username first."
            )
            return ValidationError(message, code="username_of_another")
        return None

    def save(  # type: ignore[override]
        self,
        *,
        force_insert: bool = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Save a new user, or the changed fields of a stored one.

        `update_fields` limits which fields are written, but computed fields and
        `session_epoch` are added if needed. Raises `CredentialsChanged` if a new
        password would be saved, but the account was deleted, or its sessions were
        ended, after this instance was loaded. For other fields, raises `DatabaseError`
        if the account was deleted. Raises `LastSuperuserError`, `LastAdminError` or
        `NotTheirAccount` if a guard refuses the change.
        """
        using = using or router.db_for_write(type(self), instance=self)
        if self._state.adding or force_insert:
            if self.has_usable_password():
                # Someone else may choose the username and the address of a new account.
                protect_credentials(self, {"password"})
            with transaction.atomic(using=using):
                super().save(force_insert=force_insert, using=using)
                record_creation(self)
            self._remember_stored()
            return
        written = self._find_changed()
        if update_fields is not None:
            written &= set(update_fields)
        if "email" in written:
            written |= {"email_fold"} | self._update_username_from_email(using)
        if "username" in written:
            written |= {"username_key", "username_fold"}
        if written & {"username", "first_name", "last_name"}:
            written |= {"sort_name"}
        is_hash_upgrade = self._is_hash_upgrade(update_fields)
        if not is_hash_upgrade:
            protect_credentials(self, written)
        with transaction.atomic(using=using):
            self._ask_guards(written, using)
            if written & SESSION_FIELDS and not is_hash_upgrade:
                written |= self._prepare_to_end_sessions(written, using)
            super().save(using=using, update_fields=written)
            if not is_hash_upgrade:
                record_changes(self, written, self._stored)
            if "is_active" in written and not self.is_active:
                self._revoke_invitations(using)
        self._remember_stored(written)

    save.alters_data = True  # type: ignore[attr-defined]

    def make_sort_name(self) -> str:
        """Return the value that `save()` writes to `sort_name`."""
        field: Any = self._meta.get_field("sort_name")
        return field.compute(self)

    def end_sessions(self) -> None:
        """End all sessions, unfinished sign-ins, and links to reset the password."""
        with transaction.atomic():
            rows = type(self)._base_manager.select_for_update(no_key=True)
            current = rows.get(pk=self.pk).session_epoch
            if current != self.session_epoch:
                self.were_sessions_ended = True
            self.session_epoch = current + 1
            self.save(update_fields=["session_epoch"])

    end_sessions.alters_data = True  # type: ignore[attr-defined]

    def _save_table(self, raw: bool = False, *arguments: Any, **options: Any) -> bool:
        """Save the row, and remember whether it comes from a fixture."""
        self.is_from_fixture = raw
        # Django's type hints leave out this method.
        saves: Any = super()
        return saves._save_table(raw, *arguments, **options)

    def check_password(self, raw_password: str | None) -> bool:
        """Return whether this is the user's password.

        Raises `UncountedAttempt` if the current request has not counted an attempt.
        Requests must check passwords with `orgadmin.accounts.passwords`.
        """
        request = current_request.get()
        if request is not None and not getattr(request, "counted_attempt", False):
            raise UncountedAttempt
        return super().check_password(raw_password)

    @property
    def label(self) -> str:
        """The person's name where readers can see the email address."""
        return self._make_label(self.email or self.username)

    @property
    def label_without_email(self) -> str:
        """The person's name where readers cannot see the email address."""
        return self._make_label(self.username)

    @property
    def is_label_unclear(self) -> bool:
        """Whether the full name alone does not identify the person.

        False if the person has no full name.
        """
        full_name = self.get_full_name()
        return bool(full_name) and (self.has_namesake or is_misleading(full_name))

    def _make_label(self, address: str) -> str:
        """Return the full name, followed by the address if the name is unclear.

        Returns the address if the person has no full name.
        """
        full_name = self.get_full_name()
        if not full_name:
            return address
        return f"{full_name} ({address})" if self.is_label_unclear else full_name

    @property
    def is_staff_or_superuser(self) -> bool:
        """Whether the user is a superuser, or staff.

        Members of organizations see both as "Platform staff". The list of people calls
        only superusers "Platform staff", and the others "Delegated staff".
        """
        return self.is_superuser or self.is_staff

    @property
    def has_verified_email(self) -> bool:
        """Whether the person is known to receive emails at their current address."""
        return bool(self.email) and is_same_email(self.email, self.verified_email)

    def verify_email(self) -> None:
        """Store that the person receives emails at their current address, and save.

        Does nothing if this is already stored.
        """
        if self.has_verified_email:
            return
        self.verified_email = self.email
        self.email_verified_at = timezone.now()
        self.save(update_fields=["verified_email", "email_verified_at"])

    verify_email.alters_data = True  # type: ignore[attr-defined]

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        """Return the value that a session must contain to be valid.

        Django compares it on each request. While the epoch is 0, this is Django's own
        value.
        """
        session_hash = super()._get_session_auth_hash(  # type: ignore[misc]
            secret=secret
        )
        if self.session_epoch == 0:
            return session_hash
        return salted_hmac(
            "orgadmin.session_epoch",
            f"{session_hash}{self.session_epoch}",
            secret=secret,
            algorithm="sha256",
        ).hexdigest()

    def _is_hash_upgrade(self, update_fields: Iterable[str] | None) -> bool:
        """Return whether a save only replaces the hash of the same password.

        Django does this when someone signs in after the hash algorithm has changed.
        `set_password()` sets `_password`; for an upgrade, Django resets it.
        """
        return (
            update_fields is not None
            and set(update_fields) == {"password"}
            and self._password is None  # type: ignore[attr-defined]
            and self.has_usable_password()
        )

    def _ask_guards(self, written: set[str], using: str) -> None:
        """Ask the guards, if this save deactivates the person or removes a superuser.

        Locks the row in these cases.
        """
        is_deactivated = "is_active" in written and not self.is_active
        is_demoted = "is_superuser" in written and not self.is_superuser
        if not (is_deactivated or is_demoted):
            return
        stored = lock_users([self.pk], using=using)
        if is_made_by_a_person(self.changed_by):
            keep_a_superuser(stored, using=using)
        if is_deactivated:
            keep_admins(
                stored,
                actor=self.changed_by,
                confirmed=self.confirmed_organizations,
                using=using,
            )

    def _revoke_invitations(self, using: str) -> None:
        """Revoke the invitations that this deactivated person has sent."""
        Invitation = apps.get_model("orgadmin", "Invitation")
        Invitation.objects.using(using).filter(invited_by=self).revoke(
            actor=self.changed_by,
            reason=gettext_noop("The person who sent it was deactivated."),
        )

    def _update_username_from_email(self, using: str) -> set[str]:
        """Update the username if it was made from the old email address.

        Otherwise, the person would sign in with an address that is no longer theirs. If
        someone else has the new username, the old one remains. Returns the names of the
        fields that must also be written.
        """
        old_email = self._stored.get("email")
        username = self._stored.get("username")
        if not old_email or not username or not self.email:
            return set()
        is_made = fold_username(username) == fold_username(make_username(old_email))
        if not is_made or self.username != username:
            return set()
        new_username = make_username(self.email)
        others = type(self).objects.using(using).exclude(pk=self.pk)
        if others.find_by_username(new_username) or others.find_by_email(new_username):
            return set()
        self.username = new_username
        return {"username"}

    def _prepare_to_end_sessions(self, written: set[str], using: str) -> set[str]:
        """Increase the session epoch, and reset the verification of a changed address.

        Locks the row. Returns the names of the fields that must also be written. Raises
        `CredentialsChanged` as described in `save()`.
        """
        locked = lock_users([self.pk], using=using)
        if not locked:
            if "password" in written:
                raise CredentialsChanged("The account was deleted since it was read.")
            # super().save() raises an error, because the row does not exist.
            return set()
        current = locked[0]
        is_outdated = current.session_epoch != self._stored.get("session_epoch")
        if is_outdated and "password" in written and self.has_usable_password():
            raise CredentialsChanged("The account has changed since it was read.")
        self.session_epoch = current.session_epoch + 1
        more = {"session_epoch"}
        if "email" in written and not self.has_verified_email:
            self.verified_email = ""
            self.email_verified_at = None
            more |= {"verified_email", "email_verified_at"}
        return more


renew_ended_memberships(User)
