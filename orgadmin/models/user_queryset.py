"""The queryset of users: updates, deletion, and search by username and address."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import models, transaction
from django.db.models import Q, Value
from django.db.models.functions import Lower

# The log stores reasons in English. They are translated where they are shown.
from django.utils.translation import gettext_noop as _

from orgadmin.access.audit_log import SecurityEvent, record_all
from orgadmin.access.batches import split_into_batches
from orgadmin.access.membership_log import Event, write_memberships
from orgadmin.access.sql import Statement, execute_together, placeholders
from orgadmin.models.addresses import (
    fold_email,
    fold_username,
    is_same_email,
    list_spellings,
    normalize_email,
)
from orgadmin.models.guards import (
    is_made_by_a_person,
    keep_a_superuser,
    keep_admins,
    lock_users,
)
from orgadmin.models.membership import Membership

if TYPE_CHECKING:
    from orgadmin.models import User

BATCH = 1_000  # rows

# The fields of a user that only `User.save()` may write, because it records security
# events, ends sessions, and updates the computed fields.
SAVED_FIELDS = {
    "password",
    "email",
    "is_active",
    "is_staff",
    "is_superuser",
    "username",
    "first_name",
    "last_name",
}


def has_email(emails: Collection[str]) -> Q:
    """Return the condition for users who may have one of these email addresses.

    The queryset needs the annotation "lower_email", with which rows of the previous
    release are found. Databases treat more characters as equal than this site does, so
    the caller must check the results with `is_same_email()`.
    """
    folds = sorted(fold_email(email) for email in emails)
    # Includes the condition of the index "unique_user_email".
    is_stored = Q(lower_email__in=list_lower_spellings(emails)) & ~Q(email="")
    return Q(email_fold__in=folds) | is_stored


def list_lower_spellings(emails: Collection[str]) -> list[str | Lower]:
    """Return the spellings of email addresses, lower-cased as the database does it.

    Calls the database's function LOWER only where it is needed, because thousands of
    calls would take longer than the rest of an import.
    """
    spellings = set(emails)
    for email in emails:
        spellings.update(list_spellings(email))
    lower: list[str | Lower] = []
    for spelling in sorted(spellings):
        is_lower = spelling.isascii() and spelling == spelling.lower()
        lower.append(spelling if is_lower else Lower(Value(spelling)))
    return lower


def has_username(username: str) -> Q:
    """Return the condition for users who may have a username.

    Rows of the previous release may have an outdated "username_fold", so the caller
    must check the results with `choose_by_username()`.
    """
    return Q(username=username) | Q(username_fold=fold_username(username))


def get_key(user: User) -> int:
    return user.pk


def choose_by_email(users: Iterable[User], email: str) -> User | None:
    """Return the first of these users with this email address, in any spelling."""
    for user in users:
        if user.email and is_same_email(user.email, email):
            return user
    return None


def choose_by_username(users: Iterable[User], username: str) -> User | None:
    """Return the user with exactly this username, or else with an equivalent one."""
    folded = fold_username(username)
    found = None
    for user in users:
        if user.username == username:
            return user
        if fold_username(user.username) == folded:
            found = user
    return found


class UserQuerySet(models.QuerySet["User"]):
    def delete(
        self, *, actor: User | None = None, confirmed: Collection[int] = ()
    ) -> tuple[int, dict[str, int]]:
        """Delete users and log that they left their organizations.

        Revokes the invitations that they sent, and keeps copies of their admin log
        entries. `actor` is the person to record in the logs. `confirmed` are the IDs of
        organizations for which this person, a superuser, has confirmed that no active
        admin remains. Raises `LastAdminError` or `LastSuperuserError`, except in
        commands.
        """
        self._for_write = True
        with transaction.atomic(using=self.db):
            # `people/membership.py` locks users before it gives them roles, so these
            # users cannot join an organization before they are deleted.
            leaving = lock_users(self.order_by().values("pk"), using=self.db)
            if is_made_by_a_person(actor):
                keep_a_superuser(leaving, using=self.db)
            keep_admins(leaving, actor=actor, confirmed=confirmed, using=self.db)
            # In the meantime, more users may match this queryset. The guards have not
            # checked them, so they are not deleted.
            pks = [user.pk for user in leaving]
            users = self.filter(pk__in=pks)
            # Take the lock that a deletion needs only now. While this transaction waits
            # for a guard, others that have logged what one of these users did must be
            # able to commit.
            lock_users(pks, using=self.db, no_key=False)
            record_all(SecurityEvent.USER_DELETED, leaving, actor=actor)
            # All rows are logged, including memberships that have expired.
            memberships = Membership.objects.using(self.db)
            write_memberships(
                Event.LEFT,
                memberships.filter(user__in=pks),
                actor=actor,
                reason=_("The account was deleted."),
            )
            Invitation = apps.get_model("orgadmin", "Invitation")
            Invitation.objects.using(self.db).filter(invited_by__in=pks).revoke(
                actor=actor,
                reason=_("The person who sent it was deleted."),
            )
            for batch in split_into_batches(pks, BATCH):
                self._preserve_authors(batch)
            deleted = models.QuerySet.delete(users)
        self._result_cache = None
        return deleted

    delete.queryset_only = True  # type: ignore[attr-defined]

    def _preserve_authors(self, pks: Collection[int]) -> None:
        """Copy the admin log entries of users, and store their names in the history.

        Must be called before the users are deleted, because Django also deletes their
        log entries. History records of the previous release may have their author only
        as a foreign key.
        """
        copy_of_entries = f"""
            INSERT INTO orgadmin_keptlogentry
                (entry_key, action_time, user_key, user_name, content_type_id,
                object_id, object_repr, action_flag, change_message)
            SELECT entry.id, entry.action_time, author.id, author.username,
                entry.content_type_id, entry.object_id, entry.object_repr,
                entry.action_flag, entry.change_message
            FROM django_admin_log entry
            JOIN orgadmin_user author ON author.id = entry.user_id
            WHERE author.id IN ({placeholders(pks)})
            ORDER BY entry.id
        """
        names_of_authors = f"""
            UPDATE orgadmin_historicalorganization
            SET history_user_key = history_user_id,
                history_user_name = (
                    SELECT username
                    FROM orgadmin_user
                    WHERE orgadmin_user.id = history_user_id
                )
            WHERE history_user_id IN ({placeholders(pks)})
                AND history_user_key IS NULL
        """
        statements = [
            Statement(copy_of_entries, [*pks]),
            Statement(names_of_authors, [*pks]),
        ]
        execute_together(statements, using=self.db)

    def update(self, **kwargs: Any) -> int:
        """Update columns, and return the number of users.

        If one of the columns is in SAVED_FIELDS, saves the users one at a time instead,
        and raises the errors of `User.save()`.
        """
        if not SAVED_FIELDS & kwargs.keys():
            return super().update(**kwargs)
        self._for_write = True
        with transaction.atomic(using=self.db):
            users = lock_users(self.order_by().values("pk"), using=self.db)
            for user in users:
                for name, value in kwargs.items():
                    setattr(user, name, value)
                user.save()
        return len(users)

    def find_by_email(self, email: str) -> User | None:
        """Return the user with an email address, in any spelling.

        The address may be unverified. To decide who gets access, use
        `find_by_verified_email()` instead.
        """
        users = self.annotate(lower_email=Lower("email")).filter(has_email([email]))
        # Sorted here, because a database might read all users in this order instead of
        # using an index.
        return choose_by_email(sorted(users, key=get_key), email)

    def find_by_username(self, username: str) -> User | None:
        """Return the user with a username, ignoring case."""
        return choose_by_username(self.filter(has_username(username)), username)

    def find_for_sign_in(self, text: str) -> list[User]:
        """Return the users that a username or email address at sign-in can mean.

        Returns up to two users. If the text is an email address, the user who has this
        address comes first, and the user who has it as their username second. Always
        runs one query.
        """
        email = normalize_email(text)
        users = self.annotate(lower_email=Lower("email"))
        users = users.filter(has_email([email]) | has_username(text))
        candidates = sorted(users, key=get_key)
        owner = choose_by_email(candidates, email) if "@" in email else None
        namesake = choose_by_username(candidates, text)
        found = [user for user in (owner, namesake) if user is not None]
        return list(dict.fromkeys(found))

    def find_by_emails(self, emails: Collection[str]) -> dict[str, User]:
        """Return {email address: user} for the addresses that belong to someone.

        `emails` must be results of `fold_email()`. The addresses may be unverified.
        """
        users = self.annotate(lower_email=Lower("email")).filter(has_email(emails))
        found = {fold_email(user.email): user for user in users.order_by("-pk")}
        return {email: found[email] for email in emails if email in found}

    def find_by_verified_email(self, email: str) -> User | None:
        """Return the user whose current, verified email address this is."""
        user = self.find_by_email(email)
        if user is None or not user.has_verified_email:
            return None
        return user
