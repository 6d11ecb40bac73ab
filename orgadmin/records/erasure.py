"""Erases a person: deletes their data, and replaces their name in what remains.

The account remains, but only with its creation date, and with a pseudonym that contains
its key, such as "erased-17". The logs also name the person with this pseudonym, so they
can still explain every membership and every change by key. Other rows that are only
about the person are deleted.

Texts that people wrote, such as notes and reasons, may name the person. But they may
also be about someone or something with the same name, such as an organization. The
report lists these texts. They are changed only if `replaces_texts` is True.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib.admin.models import LogEntry
from django.contrib.auth.hashers import make_password
from django.contrib.contenttypes.models import ContentType
from django.db import connection, models, transaction
from django.db.models import F, Q

# The membership log stores reasons in English. Pages translate them.
from django.utils.translation import gettext_lazy as _, gettext_noop
from django_tasks_db.models import DBTaskResult

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.models import (
    AcceptedInvitation,
    AccessRequest,
    AccessReview,
    AuditEvent,
    Contact,
    Decided,
    Import,
    ImportPart,
    Invitation,
    KeptLogEntry,
    LaterDecision,
    MembershipEvent,
    Organization,
    OrganizationUserObjectPermission,
    ReviewDecision,
    ReviewItem,
    ReviewNotice,
    SignInAttempt,
    User,
)
from orgadmin.models.addresses import fold_username
from orgadmin.models.fields import normalize
from orgadmin.models.guards import (
    find_orphaned_by,
    keep_a_superuser,
    lock_users,
)
from orgadmin.models.look_alikes import make_key
from orgadmin.people.changes import RoleChange
from orgadmin.people.membership import (
    change_roles,
    list_roles,
)
from orgadmin.people.succession import hand_over
from orgadmin.people.unsent import find_mail_to
from orgadmin.records.batches import BATCH, read_in_batches
from orgadmin.records.personal_data import (
    OtherAddress,
    Person,
    find_attempts,
    find_audit_events,
    find_log_entries,
    find_membership_events,
    find_person,
    has_address,
    list_not_included,
    list_sessions,
)

# The fields of organizations that may name a person. The name of an organization is
# never changed.
ORGANIZATION_TEXTS = ("email", "address", "notes")

# The maximum number of row IDs that a report lists for one kind of text
MAX_KEYS_SHOWN = 20


class ErasureRefused(Exception):
    """The person cannot be erased."""

    explanation: Any = ""

    def __str__(self) -> str:
        return str(self.explanation)


class ErasesThemselves(ErasureRefused):
    explanation = _("You cannot erase yourself. Ask another superuser.")


@dataclass(frozen=True)
class Count:
    """How many rows of one kind were deleted or changed."""

    label: Any
    number: int


@dataclass(frozen=True)
class Texts:
    """The texts of one kind that contain a name or an address of the person."""

    label: Any
    # The IDs of the rows that the label names.
    keys: tuple[int, ...]

    @property
    def number(self) -> int:
        return len(self.keys)

    @property
    def first_keys(self) -> str:
        keys = ", ".join(str(key) for key in self.keys[:MAX_KEYS_SHOWN])
        return f"{keys}, …" if len(self.keys) > MAX_KEYS_SHOWN else keys


@dataclass
class ErasureReport:
    """What was erased, or would be."""

    pseudonym: str
    counts: list[Count] = field(default_factory=list)
    # These texts are changed only if `replaces_texts` is True.
    texts: list[Texts] = field(default_factory=list)
    replaces_texts: bool = False
    not_included: list[OtherAddress] = field(default_factory=list)
    # These organizations no longer have an active admin.
    orphaned: list[Organization] = field(default_factory=list)

    def add(self, label: Any, number: int) -> None:
        self.counts.append(Count(label, number))


@dataclass(frozen=True)
class Names:
    """The texts that name a person, and the pseudonym that replaces them.

    First names and last names alone are replaced only in log entries about or by the
    person, because other people can have the same names.
    """

    pseudonym: str
    addresses: frozenset[str]
    username: str
    full_names: frozenset[str]
    single_names: frozenset[str]

    @property
    def in_records(self) -> set[str]:
        """The words to replace in organizations.

        A username can be an ordinary word, so it is replaced only in logs.
        """
        return set(self.addresses | self.full_names)

    @property
    def in_logs(self) -> set[str]:
        """The words to replace in logs about other people and objects."""
        return self.in_records | {self.username}

    @property
    def in_logs_about_person(self) -> set[str]:
        """The words to replace in log entries about the person or by the person."""
        return self.in_logs | self.single_names

    def replace(self, text: str, words: Collection[str]) -> str:
        """Return a text with the words replaced. In JSON lists, only in values."""
        pattern = build_pattern(words)
        if text.startswith("["):
            try:
                content = json.loads(text)
            except ValueError:
                pass
            else:
                return json.dumps(self._replace_in_values(content, pattern))
        return pattern.sub(self.pseudonym, text)

    def _replace_in_values(self, content: Any, pattern: re.Pattern[str]) -> Any:
        if isinstance(content, str):
            return pattern.sub(self.pseudonym, content)
        if isinstance(content, list):
            return [self._replace_in_values(item, pattern) for item in content]
        if isinstance(content, dict):
            return {
                key: self._replace_in_values(value, pattern)
                for key, value in content.items()
            }
        return content


def erase_person(
    user: User,
    *,
    actor: User | None = None,
    dry_run: bool = False,
    confirmed: Collection[int] = (),
    included: Collection[str] = (),
    replaces_texts: bool = False,
    successors: Mapping[int, User] | None = None,
) -> ErasureReport:
    """Erase a person in one transaction, and return what was erased.

    - `dry_run`: roll everything back at the end.
    - `confirmed`: the IDs of the organizations for which the actor, a superuser, has
      confirmed that no active admin will be left.
    - `included`: addresses as in `find_person()`.
    - `replaces_texts`: in texts that people wrote, replace the names and addresses of
      the person by the pseudonym.
    - `successors`: as in `hand_over()`.

    Raises `ErasureRefused` if the person is the actor, `User.DoesNotExist` if the
    account was deleted, `LastSuperuserError`, `LastAdminError`, and the exceptions of
    `hand_over()`.
    """
    if user == actor:
        raise ErasesThemselves
    with transaction.atomic():
        hand_over([user], successors or {}, actor=actor)
        locked = lock_users([user.pk], using="default")
        if not locked:
            raise User.DoesNotExist("The person has been deleted.")
        keep_a_superuser(locked, using="default")
        if dry_run:
            confirmed = [organization.pk for organization in find_orphaned_by(locked)]
        person = find_person(locked[0], included=included)
        erasure = Erasure(person, actor, replaces_texts=replaces_texts)
        report = erasure.run(confirmed)
        if dry_run:
            transaction.set_rollback(True)
    return report


class Erasure:
    """Erases one person, whose row is locked."""

    def __init__(
        self, person: Person, actor: User | None, *, replaces_texts: bool
    ) -> None:
        self.person = person
        self.user = person.user
        self.user.changed_by = actor
        self.actor = actor
        self.names = find_names(person)
        self.report = ErasureReport(
            self.names.pseudonym,
            replaces_texts=replaces_texts,
            not_included=list_not_included(person),
        )

    def run(self, confirmed: Collection[int]) -> ErasureReport:
        self._end_roles(confirmed)
        contact_names = self._change_entries_about_contacts()
        self._delete_rows()
        self._empty_account()
        with allow_log_changes():
            self._change_membership_log()
            self._change_audit_log()
            self._change_reviews()
        self._change_admin_log(contact_names)
        self._change_imports()
        self._change_organizations()
        self._record()
        return self.report

    def _end_roles(self, confirmed: Collection[int]) -> None:
        """End the person's roles, and revoke the invitations that they sent.

        Raises `LastAdminError` if an organization that is not in `confirmed` would have
        no active admin.
        """
        organizations = {row.organization for row in list_roles(self.user)}
        changes = [RoleChange(self.user, row, role=None) for row in organizations]
        self.report.orphaned = find_orphaned_by([self.user])
        reason = gettext_noop("The person was erased.")
        change_roles(changes, actor=self.actor, reason=reason, confirmed=confirmed)
        self.report.add(_("Roles"), len(changes))
        sent = Invitation.objects.filter(invited_by=self.user)
        number = sent.revoke(actor=self.actor, reason=reason)
        self.report.add(_("Invitations that they sent"), number)

    def _change_entries_about_contacts(self) -> set[str]:
        """In the admin log, rename the contacts that have an address of the person.

        Returns the names of these contacts. They are deleted later.
        """
        contacts = Contact.objects.filter(has_address("email", self.person))
        names = dict(contacts.values_list("pk", "name"))
        content_type = ContentType.objects.get_for_model(Contact)
        about = Q(content_type=content_type, object_id__in=[str(pk) for pk in names])
        for model in (LogEntry, KeptLogEntry):
            entries: models.QuerySet[Any] = models.QuerySet(model).filter(about)
            entries.update(object_repr=self.names.pseudonym)
        return set(names.values())

    def _delete_rows(self) -> None:
        """Delete the rows that are only about the person."""
        user = self.user
        # Must run before the invitations are deleted, because queued mail refers to
        # them by key.
        self._delete_mail()
        contacts = Contact.objects.filter(has_address("email", self.person))
        addresses = Q(user=user) | has_address("email", self.person)
        permissions = OrganizationUserObjectPermission.objects.filter(user=user)
        invitations = Invitation.objects.filter(has_address("email", self.person))
        # Also removes the rows of memberships that have ended.
        user.groups.clear()
        user.user_permissions.clear()
        permissions.delete()
        self._delete(_("Contacts with their address"), contacts)
        self._delete(_("Invitations to their address"), invitations)
        accepted = AcceptedInvitation.objects.filter(user=user)
        self._delete(_("Invitations that they accepted"), accepted)
        requests = AccessRequest.objects.filter(user=user)
        self._delete(_("Requests for access"), requests)
        self._delete(_("Second factors"), Authenticator.objects.filter(user=user))
        self._delete(
            _("Linked company accounts"), SocialAccount.objects.filter(user=user)
        )
        EmailAddress.objects.filter(addresses).delete()
        attempts = find_attempts(self.person)
        SignInAttempt.objects.filter(key__in=attempts).delete()
        sessions = list(list_sessions(user))
        for session in sessions:
            session.delete()
        user.sessions.all().delete()
        self.report.add(_("Sessions"), len(sessions))

    def _delete_mail(self) -> None:
        mail = find_mail_to(self.user, self.person.folds)
        keys = [message.pk for message in mail]
        for batch in read_in_batches(keys):
            DBTaskResult.objects.filter(pk__in=batch).delete()
        self.report.add(_("Emails that wait to be sent to them"), len(keys))

    def _delete(self, label: Any, rows: models.QuerySet) -> None:
        self.report.add(label, len(rows))
        rows.delete()

    def _empty_account(self) -> None:
        """Remove everything from the account except its key and creation date.

        Uses Django's own update(), because `User.save()` would record the old address.
        """
        models.QuerySet(User).filter(pk=self.user.pk).update(
            username=self.names.pseudonym,
            username_key=make_key(self.names.pseudonym),
            username_fold=fold_username(self.names.pseudonym),
            sort_name=normalize(self.names.pseudonym),
            email_fold=None,
            first_name="",
            last_name="",
            email="",
            verified_email="",
            email_verified_at=None,
            language="",
            time_zone="",
            mail_own_roles=True,
            mail_people=True,
            mail_accepted=True,
            password=make_password(None),
            last_login=None,
            is_active=False,
            is_staff=False,
            is_superuser=False,
            session_epoch=F("session_epoch") + 1,
        )

    def _change_membership_log(self) -> None:
        """Replace names in the membership log, and in its reasons if asked to."""
        about = find_membership_events(self.person)
        by_person = Q(actor_key=self.user.pk)
        keys = self._find_and_replace(
            MembershipEvent,
            about | by_person,
            ["reason"],
            self.names.in_logs_about_person,
        )
        keys |= self._find_and_replace(
            MembershipEvent,
            contains_any("reason", self.names.in_logs),
            ["reason"],
            self.names.in_logs,
        )
        self._report_texts(_("Reasons in the membership log (IDs of entries)"), keys)
        events: models.QuerySet[MembershipEvent] = models.QuerySet(MembershipEvent)
        pseudonym = self.names.pseudonym
        number = events.filter(about).update(user_name=pseudonym)
        number += events.filter(by_person).update(actor_name=pseudonym)
        self.report.add(_("Names in the membership log"), number)

    def _change_audit_log(self) -> None:
        """Replace names in the audit log, and remove personal details of the person."""
        events: models.QuerySet[AuditEvent] = models.QuerySet(AuditEvent)
        pseudonym = self.names.pseudonym
        about = find_audit_events(self.person)
        number = events.filter(about).update(user_name=pseudonym, personal={})
        by_person = events.filter(actor_key=self.user.pk)
        number += by_person.update(actor_name=pseudonym)
        for event in events.exclude(personal={}).iterator(chunk_size=BATCH):
            personal = {
                key: pseudonym if self.person.has(str(value)) else value
                for key, value in event.personal.items()
            }
            if personal != event.personal:
                events.filter(pk=event.pk).update(personal=personal)
                number += 1
        self.report.add(_("Names in the audit log"), number)

    def _change_imports(self) -> None:
        """Delete the person's unfinished imports, and what names them in other imports.

        Finished imports remain, but if their parts name the person, the parts are
        deleted, so these imports can no longer be undone. Unfinished imports of other
        people are deleted if they name the person. File names are emptied if they name
        the person, or if the person uploaded the file.
        """
        by_person = Q(actor_key=self.user.pk)
        words = self.names.in_logs
        waiting = Import.objects.filter(by_person).exclude(state__in=Import.DONE_STATES)
        number = waiting.count()
        waiting.delete()
        named = by_person | contains_any("file_name", words)
        number += Import.objects.filter(named).update(file_name="")
        for pk in find_imports_that_name(words):
            ImportPart.objects.filter(stored_import=pk).delete()
            Import.objects.filter(pk=pk).exclude(state__in=Import.DONE_STATES).delete()
            number += 1
        self.report.add(_("Imports"), number)

    def _change_reviews(self) -> None:
        """Replace names in access reviews. The decisions remain, with user keys."""
        pk = self.user.pk
        keys = self._change_reasons(ReviewDecision)
        self._report_texts(_("Reasons in access reviews (IDs of decisions)"), keys)
        keys = self._change_reasons(LaterDecision)
        label = _("Reasons in access reviews (IDs of later decisions)")
        self._report_texts(label, keys)
        pseudonym = self.names.pseudonym
        items: models.QuerySet[ReviewItem] = models.QuerySet(ReviewItem)
        named_item = {"user_name": pseudonym, "full_name": ""}
        number = items.filter(user_key=pk).update(**named_item)
        number += items.filter(added_by_key=pk).update(added_by_name=pseudonym)
        for model in (ReviewDecision, LaterDecision):
            decisions: models.QuerySet[Any] = models.QuerySet(model)
            number += decisions.filter(actor_key=pk).update(actor_name=pseudonym)
        notices: models.QuerySet[ReviewNotice] = models.QuerySet(ReviewNotice)
        number += notices.filter(user_key=pk).update(user_name=pseudonym)
        reviews: models.QuerySet[AccessReview] = models.QuerySet(AccessReview)
        started = reviews.filter(started_by_key=pk)
        number += started.update(started_by_name=pseudonym)
        closed = reviews.filter(closed_by_key=pk)
        number += closed.update(closed_by_name=pseudonym)
        self.report.add(_("Names in access reviews"), number)

    def _change_reasons(self, model: type[Decided]) -> set[int]:
        """Replace names in the reasons of decisions, if the actor has asked for it.

        Returns the IDs of the decisions whose reasons contain a name.
        """
        pk = self.user.pk
        about_person = Q(item__user_key=pk) | Q(actor_key=pk)
        keys = self._find_and_replace(
            model, about_person, ["reason"], self.names.in_logs_about_person
        )
        words = self.names.in_logs
        contains_name = contains_any("reason", words)
        return keys | self._find_and_replace(model, contains_name, ["reason"], words)

    def _change_admin_log(self, contact_names: Collection[str]) -> None:
        """Replace names in Django's admin log.

        `contact_names` are names of contacts with an address of the person.
        """
        number = 0
        about = find_log_entries(self.person)
        for model in (LogEntry, KeptLogEntry):
            entries: models.QuerySet[Any] = models.QuerySet(model).filter(about)
            number += entries.update(object_repr=self.names.pseudonym)
        self.report.add(_("Names in the admin log"), number)
        keys = self._change_entries(LogEntry, Q(user=self.user), contact_names)
        self._report_texts(_("Texts in the admin log (IDs of entries)"), keys)
        by_person = Q(user_key=self.user.pk)
        keys = self._change_entries(KeptLogEntry, by_person, contact_names)
        self._report_texts(
            _("Texts in the admin log of deleted accounts (IDs of entries)"), keys
        )

    def _change_entries(
        self,
        model: type[LogEntry] | type[KeptLogEntry],
        by_person: Q,
        contact_names: Collection[str],
    ) -> set[int]:
        """Change the texts of an admin log.

        Texts about the account are always changed, and other texts only if the actor
        has asked for it. Returns the IDs of the entries with other texts that name the
        person.
        """
        texts = ["object_repr", "change_message"]
        # These entries are about the account, so names in them mean the person.
        about = find_log_entries(self.person)
        self._find_and_replace(
            model, about, texts, self.names.in_logs_about_person, always_replaces=True
        )
        keys = self._find_and_replace(
            model, by_person, texts, self.names.in_logs_about_person
        )
        words = self.names.in_logs
        keys |= self._find_and_replace(model, names_in_entries(words), texts, words)
        # Only entries about contacts and organizations can contain names of contacts.
        content_types = ContentType.objects.get_for_models(Contact, Organization)
        condition = names_in_entries(contact_names)
        condition &= Q(content_type__in=content_types.values())
        return keys | self._find_and_replace(model, condition, texts, contact_names)

    def _change_organizations(self) -> None:
        """Replace names in texts of organizations and their history, if asked to.

        Always replaces the author of versions, and of archiving.
        """
        words = self.names.in_records
        condition = Q(pk__in=[])
        for name in ORGANIZATION_TEXTS:
            condition |= contains_any(name, words)
        rows = self._change_rows(Organization.objects.filter(condition))
        self._report_texts(
            _("Email, address and notes of organizations (IDs of organizations)"),
            {row.pk for row in rows},
        )
        versions = Organization.history.model.objects
        by_person = versions.filter(history_user_key=self.user.pk)
        number = by_person.update(history_user_name=self.names.pseudonym)
        number += self._change_archived()
        self.report.add(_("Names in the history"), number)
        rows = self._change_rows(versions.filter(condition))
        self._report_texts(
            _("The same in the history (IDs of organizations)"),
            {row.id for row in rows},
        )

    def _change_archived(self) -> int:
        """Replace the person's name in organizations that they archived or deleted.

        Returns the number of names that were replaced.
        """
        number = 0
        for action in ("archived", "trashed"):
            rows = Organization.objects.filter(**{f"{action}_by_key": self.user.pk})
            pks = list(rows.order_by("pk").values_list("pk", flat=True))
            values = {f"{action}_by_name": self.names.pseudonym}
            Organization.objects.write_without_history(pks, values)
            number += len(pks)
        return number

    def _change_rows(self, rows: models.QuerySet) -> list[Any]:
        """Replace the person's names in the texts of organizations or versions.

        Returns the rows that name the person, even if texts are not to be changed.
        """
        found = []
        for row in rows.iterator(chunk_size=BATCH):
            changed = self._replace_in_organization(row)
            if not changed:
                continue
            found.append(row)
            if self.report.replaces_texts:
                type(row).objects.filter(pk=row.pk).update(**changed)
        return found

    def _find_and_replace(
        self,
        model: type[models.Model],
        condition: Q,
        fields: Collection[str],
        words: Collection[str],
        *,
        always_replaces: bool = False,
    ) -> set[int]:
        """Replace the words in texts, if the actor has asked for it.

        Returns the IDs of the rows that contain one of the words.
        """
        replaces_texts = always_replaces or self.report.replaces_texts
        rows: models.QuerySet[models.Model] = models.QuerySet(model)
        keys = set()
        stored = rows.filter(condition).values_list("pk", *fields)
        for pk, *texts in stored.iterator(chunk_size=BATCH):
            changed = {}
            for name, text in zip(fields, texts, strict=True):
                replaced = self.names.replace(text, words)
                if replaced != text:
                    changed[name] = cut_to_field(replaced, model, name)
            if not changed:
                continue
            keys.add(pk)
            if replaces_texts:
                rows.filter(pk=pk).update(**changed)
        return keys

    def _report_texts(self, label: Any, keys: Collection[int]) -> None:
        if keys:
            self.report.texts.append(Texts(label, tuple(sorted(keys))))

    def _replace_in_organization(self, row: Any) -> dict[str, str]:
        """Return {field: new text} for the fields that name the person.

        In the new text, the pseudonym replaces the names. An email address of the
        person is replaced by "".
        """
        changed = {}
        for name in ORGANIZATION_TEXTS:
            text = getattr(row, name)
            replaced = self.names.replace(text, self.names.in_records)
            if replaced == text:
                continue
            if name == "email":
                # The pseudonym would not be a valid email address.
                changed[name] = ""
            else:
                changed[name] = cut_to_field(replaced, type(row), name)
        return changed

    def _record(self) -> None:
        numbers = [count.number for count in self.report.counts]
        record(
            SecurityEvent.PERSON_ERASED,
            user=User.objects.get(pk=self.user.pk),
            actor=self.actor,
            details={"rows": sum(numbers)},
        )


@contextmanager
def allow_log_changes() -> Iterator[None]:
    """Allow changes of names in the membership log, the audit log and access reviews.

    On PostgreSQL, database triggers otherwise prevent all changes of them.
    """
    set_erasing("on")
    yield
    set_erasing("off")


def set_erasing(value: str) -> None:
    """Set orgadmin.erasing to "on" or "off", until the transaction ends.

    With "on", the triggers of the logs and of access reviews allow changes of names.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # The third argument limits the setting to the transaction.
            cursor.execute(
                "SELECT set_config('orgadmin.erasing', %s, true)",
                [value],
            )


def find_names(person: Person) -> Names:
    """Return what names the person: addresses, username, and parts of the full name."""
    user = person.user
    single_names = {name for name in (user.first_name, user.last_name) if name}
    full_names = set()
    if len(single_names) > 1:
        full_names = {
            f"{user.first_name} {user.last_name}",
            f"{user.last_name} {user.first_name}",
            f"{user.last_name}, {user.first_name}",
        }
    return Names(
        pseudonym=choose_pseudonym(user),
        addresses=person.addresses,
        username=user.username,
        full_names=frozenset(full_names),
        single_names=frozenset(single_names),
    )


def choose_pseudonym(user: User) -> str:
    """Return a username that contains the user's key, and that nobody else has."""
    pseudonym = f"erased-{user.pk}"
    number = 2
    while User.objects.filter(username=pseudonym).exclude(pk=user.pk).exists():
        pseudonym = f"erased-{user.pk}-{number}"
        number += 1
    return pseudonym


def build_pattern(words: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that finds the words, but not as parts of longer words.

    For example, an address is part of a longer address if ".au" follows, but not if
    only a full stop follows.
    """
    alternatives = "|".join(
        re.escape(word) for word in sorted(words, key=len, reverse=True) if word
    )
    pattern = rf"(?<![\w.+@-])(?:{alternatives or '(?!)'})(?![\w@]|[.-]\w)"
    return re.compile(pattern, re.IGNORECASE)


def find_imports_that_name(words: Iterable[str]) -> set[int]:
    """Return the IDs of imports whose parts contain one of the words.

    Searches the parts of imports that are not done yet, or that can still be undone.
    Skips the uploaded file itself: once it has been read, other parts have its text.
    """
    pattern = build_pattern(words)
    found = set()
    for part in ImportPart.objects.order_by("pk").iterator(chunk_size=1):
        is_file = part.kind == ImportPart.Kind.FILE
        if not is_file and pattern.search(part.read_text()):
            found.add(part.stored_import_id)
    return found


def contains_any(name: str, words: Iterable[str]) -> Q:
    """Return the condition that a text contains one of the words.

    SQLite only ignores the case of ASCII letters, so the condition contains the usual
    spellings of each word.
    """
    condition = Q(pk__in=[])
    for word in words:
        for spelling in {word, word.lower(), word.upper(), word.title()}:
            condition |= Q(**{f"{name}__icontains": spelling})
    return condition


def names_in_entries(words: Iterable[str]) -> Q:
    """Return the condition that an entry of Django's admin log contains a word.

    The messages are JSON, in which letters such as "ë" are escaped.
    """
    spellings = set()
    for word in words:
        spellings |= {word, json.dumps(word)[1:-1]}
    return contains_any("change_message", spellings) | contains_any(
        "object_repr", spellings
    )


def cut_to_field(text: str, model: type[models.Model], name: str) -> str:
    """Return as much of a text as the field can store."""
    limit = getattr(model._meta.get_field(name), "max_length", None)
    return text[:limit]
