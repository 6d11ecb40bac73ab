"""What this site stores about one person, as JSON.

docs/operations.md describes the sections. `erasure.py` erases these data. Passwords,
secrets of second factors, session keys and the names of other users are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib.admin.models import LogEntry
from django.contrib.auth import SESSION_KEY
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Q, Value
from django.db.models.functions import Lower
from django.db.models.lookups import Exact
from django.utils import timezone

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.models import (
    AcceptedInvitation,
    AccessRequest,
    AccessReview,
    AuditEvent,
    Contact,
    Decided,
    Import,
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
from orgadmin.models.addresses import (
    fold_email,
    fold_username,
    is_same_email,
    list_spellings,
    lower_exactly,
)
from orgadmin.models.sign_in_attempt import make_key
from orgadmin.people.membership import list_roles
from orgadmin.people.unsent import KINDS, find_mail_to
from orgadmin.records.batches import BATCH

# Increase the number when a section is removed, or when its meaning changes.
FORMAT = "orgadmin person 1"

# The kinds of attempts that are counted by user key. `find_attempts()` adds those that
# are counted by username or by address. Other attempts cannot be found, because they
# are also counted by IP address, device or organization.
ATTEMPTS_BY_KEY = (
    "account anywhere",
    "password",
    "step-up",
    "reset",
    "code",
    "lock-out",
    "lock-out mail",
    "lock-out link",
    "invitations by",
    "requests by",
    "own mail",
    "password link",
    "password links by",
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Person:
    """A user, and the email addresses that are known to be theirs."""

    user: User
    # In lower case, in all spellings in which they may be stored
    addresses: frozenset[str]
    # Current and earlier addresses of the account that may belong to someone else,
    # because they were not verified, or because another account has them now. They are
    # in their normal form.
    other_addresses: frozenset[str] = frozenset()

    @property
    def key(self) -> int:
        return self.user.pk

    @cached_property
    def folds(self) -> set[str]:
        """The addresses in their normal form, for comparisons."""
        return fold_all(self.addresses)

    def has(self, address: str) -> bool:
        """Return whether an address is one of the person's, in any spelling."""
        return fold_email(address) in self.folds


@dataclass(frozen=True)
class OtherAddress:
    """An address that may belong to someone else."""

    address: str
    number: int  # of rows with this address


def find_person(user: User, *, included: Collection[str] = ()) -> Person:
    """Return the person with their verified current and earlier addresses.

    People could add the address of someone else to their account, to get or to destroy
    what is stored about that person. An address is therefore only used if the person
    has verified it, and if no other account has it now. `included` are further
    addresses of the account that a superuser has confirmed to be theirs.
    """
    events = list_address_events(user)
    verified = find_verified_addresses(user, events)
    known = verified | find_entered_addresses(user, events)
    folds = fold_all(known)
    taken = User.objects.exclude(pk=user.pk).find_by_emails(folds)
    theirs = (fold_all(verified) - taken.keys()) | (fold_all(included) & folds)
    addresses: set[str] = set()
    for address in known:
        if fold_email(address) in theirs:
            addresses |= {lower_exactly(address), *list_spellings(address)}
    return Person(user, frozenset(addresses), frozenset(folds - theirs))


def fold_all(addresses: Iterable[str]) -> set[str]:
    return {fold_email(address) for address in addresses}


def list_address_events(user: User) -> list[AuditEvent]:
    """Return the changes and verifications of an account's address, oldest first."""
    kinds = (SecurityEvent.EMAIL_CHANGED, SecurityEvent.EMAIL_VERIFIED)
    events = AuditEvent.objects.filter(user_key=user.pk, event__in=kinds)
    return list(events.order_by("pk"))


def find_entered_addresses(user: User, events: Iterable[AuditEvent]) -> set[str]:
    """Return the current and all earlier addresses of the account."""
    addresses = {user.email}
    for event in events:
        addresses |= {str(address) for address in event.personal.values()}
    return addresses - {""}


def find_verified_addresses(user: User, events: Iterable[AuditEvent]) -> set[str]:
    """Return the current and earlier addresses that the person has verified.

    `events` are changes and verifications of the address, oldest first. An earlier
    address counts as verified if the event directly before its change is
    EMAIL_VERIFIED.
    """
    addresses = {user.verified_email}
    is_verified = False
    for event in events:
        if event.event == SecurityEvent.EMAIL_VERIFIED:
            is_verified = True
            continue
        if is_verified:
            addresses.add(event.personal.get("old_email", ""))
        is_verified = False
    return addresses - {""}


def list_not_included(person: Person) -> list[OtherAddress]:
    """Return the addresses that a superuser has to decide about."""
    others = []
    for address in sorted(person.other_addresses):
        alone = Person(person.user, frozenset(list_spellings(address)))
        events = MembershipEvent.objects.filter(
            Q(user_key=None) & has_address("user_name", alone)
        )
        rows = (
            events,
            Invitation.objects.filter(has_address("email", alone)),
            Contact.objects.filter(has_address("email", alone)),
        )
        others.append(OtherAddress(address, sum(part.count() for part in rows)))
    return others


def has_address(field: str, person: Person) -> Q:
    """Return the condition that a field contains one of the person's addresses.

    A database may convert different letters to the same upper-case or lower-case
    letter. Two addresses are therefore only the same if both conversions match.
    """
    condition = Q(pk__in=[])
    for address in person.addresses:
        is_same_in_upper_case = Q(**{f"{field}__iexact": address})
        is_same_in_lower_case = Q(Exact(Lower(field), Lower(Value(address))))
        condition |= is_same_in_upper_case & is_same_in_lower_case
    return condition


def find_membership_events(person: Person) -> Q:
    """Return the condition for entries of the membership log about the person."""
    invited = Q(user_key=None) & has_address("user_name", person)
    return Q(user_key=person.key) | invited


def find_audit_events(person: Person) -> Q:
    """Return the condition for entries of the audit log about the person.

    They include failed sign-ins with the person's username or address. Early releases
    recorded the name that was entered.
    """
    typed = Q(user_name__iexact=person.user.username)
    typed |= has_address("user_name", person)
    return Q(user_key=person.key) | (Q(user_key=None) & typed)


def find_log_entries(person: Person) -> Q:
    """Return the condition for entries of Django's admin log about the person."""
    content_type = ContentType.objects.get_for_model(User)
    return Q(content_type=content_type, object_id=str(person.key))


def list_sessions(user: User) -> Iterator[Session]:
    """Yield the sessions in which the user is signed in. Reads all sessions."""
    for session in Session.objects.iterator(chunk_size=BATCH):
        if session.get_decoded().get(SESSION_KEY) == str(user.pk):
            yield session


def find_attempts(person: Person) -> dict[str, str]:
    """Return {key: kind} of the attempts that are counted for the person."""
    kinds = {make_key(kind, person.key): kind for kind in ATTEMPTS_BY_KEY}
    kinds[make_key("username", fold_username(person.user.username))] = "username"
    for address in person.addresses:
        kinds[make_key("username", fold_username(address))] = "username"
        kinds[make_key("mail", address)] = "mail"
    return kinds


def make_account_row(person: Person) -> Row:
    user = person.user
    earlier = [
        address
        for address in sorted(person.addresses)
        if not is_same_email(address, user.email)
    ]
    names = [
        "username",
        "first_name",
        "last_name",
        "email",
        "verified_email",
        "email_verified_at",
        "language",
        "time_zone",
        "mail_own_roles",
        "mail_people",
        "mail_accepted",
        "date_joined",
        "last_login",
        "is_active",
        "is_staff",
        "is_superuser",
    ]
    return {
        "id": user.pk,
        **{name: getattr(user, name) for name in names},
        "has_password": user.has_usable_password(),
        "earlier_addresses": earlier,
    }


def list_role_rows(person: Person) -> Iterator[Row]:
    for row in list_roles(person.user):
        yield {
            "organization_id": row.organization.pk,
            "organization": row.organization.name,
            "role": row.role.key if row.role else None,
            "ends_at": row.ends_at,
        }


def list_permissions(person: Person) -> Iterator[Row]:
    """Yield the permissions of the user themselves, without permissions of groups.

    If `organization_id` is None, it is a model-level permission.
    """
    for name in person.user.user_permissions.values_list("codename", flat=True):
        yield {"permission": name, "organization_id": None}
    grants = OrganizationUserObjectPermission.objects.filter(user=person.user)
    for name, pk in grants.values_list("permission__codename", "content_object"):
        yield {"permission": name, "organization_id": pk}


def list_membership_events(person: Person) -> Iterator[Row]:
    """Yield the entries of the membership log about the person, or by the person."""
    about_them = find_membership_events(person)
    events = MembershipEvent.objects.filter(about_them | Q(actor_key=person.key))
    for event in events.order_by("pk").iterator(chunk_size=BATCH):
        row = {
            "at": event.at,
            "event": event.event,
            "organization_id": event.organization_key,
            "organization": event.organization_name,
            "role": event.role,
            "ends_at": event.ends_at,
            "user_id": event.user_key,
            "by_user_id": event.actor_key,
            "reason": event.reason,
            "source": event.source,
        }
        # The entry of an invitation contains an address. If the person has invited
        # someone else, the address is left out.
        if event.user_key is None and person.has(event.user_name):
            row["invited_address"] = event.user_name
        yield row


def list_review_items(person: Person) -> Iterator[Row]:
    """Yield the questions of access reviews about the person, and the decisions."""
    items = ReviewItem.objects.filter(user_key=person.key)
    found = items.with_decisions().select_related("section").order_by("pk")
    for item in found.iterator(chunk_size=BATCH):
        asked = {
            "review": item.section.review_id,
            "organization_id": item.section.organization_key or item.organization_key,
            "organization": item.section.organization_name or item.organization_name,
            "access": item.path,
            "role": item.role,
            "details": item.detail,
            "since": item.since,
            "by_user_id": item.added_by_key,
            "last_sign_in": item.last_sign_in,
            "ends_at": item.ends_at,
        }
        # Each decision replaces the previous one.
        for decision in item.list_decisions() or [None]:
            yield {
                **asked,
                "answer": decision.answer if decision else None,
                "answered_at": decision.at if decision else None,
                "answered_by_user_id": decision.actor_key if decision else None,
                "reason": decision.reason if decision else "",
            }


def list_review_answers(person: Person) -> Iterator[Row]:
    """Yield what the person was asked and did in access reviews.

    They may have started, closed or canceled reviews, and made decisions.
    """
    for pk, at in AccessReview.objects.filter(started_by_key=person.key).values_list(
        "pk", "started_at"
    ):
        yield {"review": pk, "what": "started", "at": at}
    closed = AccessReview.objects.filter(closed_by_key=person.key)
    for review in closed.order_by("pk"):
        what = "cancelled" if review.is_cancelled else "closed"
        yield {"review": review.pk, "what": what, "at": review.closed_at}
    notices = ReviewNotice.objects.filter(user_key=person.key).order_by("pk")
    for notice in notices.iterator(chunk_size=BATCH):
        yield {
            "review": notice.review_id,
            "what": "asked",
            "organization_id": notice.organization_key,
            "request": notice.kind,
            "at": notice.at,
        }
    for decisions in (ReviewDecision.objects, LaterDecision.objects):
        made = decisions.filter(actor_key=person.key).order_by("pk")
        for decision in made.select_related("item__section").iterator(chunk_size=BATCH):
            yield make_decision_row(decision)


def make_decision_row(decision: Decided) -> Row:
    return {
        "review": decision.item.section.review_id,
        "what": decision.answer,
        "organization_id": decision.item.section.organization_key,
        "user_id": decision.item.user_key,
        "role": decision.role,
        "reason": decision.reason,
        "at": decision.at,
    }


def list_imports(person: Person) -> Iterator[Row]:
    imports = Import.objects.filter(actor_key=person.key).order_by("pk")
    for stored in imports.iterator(chunk_size=BATCH):
        yield {"at": stored.created_at, "file": stored.file_name, "what": stored.state}


def list_audit_events(person: Person) -> Iterator[Row]:
    """Yield the entries of the audit log about the person, or by the person.

    If the person did something to someone else, leaves out names and personal details.
    """
    condition = find_audit_events(person)
    events = AuditEvent.objects.filter(condition | Q(actor_key=person.key))
    for event in events.order_by("pk").iterator(chunk_size=BATCH):
        row = {
            "at": event.at,
            "event": event.event,
            "user_id": event.user_key,
            "by_user_id": event.actor_key,
            "details": event.details,
            "network": event.network,
            "request_id": event.request_id,
        }
        if event.actor_key != person.key or event.user_key == person.key:
            row["user_name"] = event.user_name
            row["personal"] = event.personal
        yield row


def list_history(person: Person) -> Iterator[Row]:
    records = Organization.history.filter(history_user=person.key)
    fields = records.order_by("history_id").values_list(
        "history_date", "history_type", "id", "name"
    )
    for at, kind, pk, name in fields.iterator(chunk_size=BATCH):
        yield {"at": at, "change": kind, "organization_id": pk, "organization": name}


def list_log_entries(person: Person) -> Iterator[Row]:
    """Yield the entries of Django's admin log about the person, or by the person."""
    about = find_log_entries(person)
    kept = KeptLogEntry.objects.filter(about).order_by("pk")
    for kept_entry in kept.iterator(chunk_size=BATCH):
        yield make_log_entry_row(kept_entry.to_log_entry(), person)
    entries = LogEntry.objects.filter(about | Q(user=person.user))
    entries = entries.select_related("content_type").order_by("pk")
    for entry in entries.iterator(chunk_size=BATCH):
        yield make_log_entry_row(entry, person)


def make_log_entry_row(entry: LogEntry, person: Person) -> Row:
    """Return a log entry, without the name and message if it is about another user."""
    row = {
        "at": entry.action_time,
        "by_user_id": entry.user_id,
        "model": entry.content_type.model if entry.content_type else None,
        "object_id": entry.object_id,
        "action": entry.get_action_flag_display(),
    }
    users = ContentType.objects.get_for_model(User)
    is_themselves = entry.object_id == str(person.key)
    if entry.content_type != users or is_themselves:
        row["object"] = entry.object_repr
        row["message"] = entry.change_message
    return row


def list_invitations(person: Person) -> Iterator[Row]:
    """Yield the open invitations to the person, or from the person.

    If they invited someone else, leaves out the address.
    """
    condition = has_address("email", person)
    invitations = Invitation.objects.filter(condition | Q(invited_by=person.user))
    for invitation in invitations.select_related("organization").order_by("pk"):
        is_invited = person.has(invitation.email)
        yield {
            "sent_at": invitation.sent_at,
            "organization_id": invitation.organization.pk,
            "organization": invitation.organization.name,
            "role": invitation.role,
            "address": invitation.email if is_invited else None,
            "by_user_id": invitation.invited_by_id,
        }


def list_accepted_invitations(person: Person) -> Iterator[Row]:
    for accepted in AcceptedInvitation.objects.filter(user=person.user).order_by("pk"):
        yield {
            "accepted_at": accepted.accepted_at,
            "organization_id": accepted.organization_id,
        }


def list_access_requests(person: Person) -> Iterator[Row]:
    """Yield the requests for access of the person, and those that they answered."""
    condition = Q(user=person.user) | Q(decided_by=person.user)
    for request in AccessRequest.objects.filter(condition).order_by("pk"):
        is_theirs = request.user_id == person.user.pk
        yield {
            "asked_at": request.asked_at,
            "organization_id": request.organization_id,
            "organization": request.organization_name,
            "role": request.role,
            "reason": request.reason if is_theirs else None,
            "outcome": request.outcome,
            "answer": request.answer,
            "decided_at": request.decided_at,
            "decided_by_themselves": request.decided_by_id == person.user.pk,
        }


def list_contacts(person: Person) -> Iterator[Row]:
    contacts = Contact.objects.filter(has_address("email", person))
    for contact in contacts.select_related("organization").order_by("pk"):
        yield {
            "organization_id": contact.organization.pk,
            "organization": contact.organization.name,
            "name": contact.name,
            "role": contact.role,
            "email": contact.email,
            "phone": contact.phone,
        }


def list_second_factors(person: Person) -> Iterator[Row]:
    factors = Authenticator.objects.filter(user=person.user).order_by("pk")
    for factor in factors:
        yield {
            "type": factor.type,
            "name": factor.data.get("name", ""),
            "created_at": factor.created_at,
            "last_used_at": factor.last_used_at,
        }


def list_providers(person: Person) -> Iterable[Row]:
    accounts = SocialAccount.objects.filter(user=person.user).order_by("pk")
    return accounts.values("provider", "date_joined", "last_login")


def list_other_addresses(person: Person) -> Iterable[Row]:
    addresses = EmailAddress.objects.filter(
        Q(user=person.user) | has_address("email", person)
    )
    return addresses.order_by("pk").values("email", "verified")


def list_session_rows(person: Person) -> Iterator[Row]:
    for session in list_sessions(person.user):
        yield {"expires_at": session.expire_date}


def list_attempts(person: Person) -> Iterator[Row]:
    kinds = find_attempts(person)
    for attempt in SignInAttempt.objects.filter(key__in=kinds).order_by("pk"):
        yield {
            "kind": kinds[attempt.key],
            "count": attempt.count,
            "since": attempt.since,
        }


def list_unsent_mail(person: Person) -> Iterator[Row]:
    for message in find_mail_to(person.user, person.folds):
        yield {
            "kind": str(KINDS.get(message.task_path, message.task_path)),
            "added_at": message.enqueued_at,
            "reason": message.traceback,
        }


SECTIONS: dict[str, Callable[[Person], Iterable[Row]]] = {
    "roles": list_role_rows,
    "permissions": list_permissions,
    "membership_log": list_membership_events,
    "access_reviews": list_review_items,
    "review_answers": list_review_answers,
    "imports": list_imports,
    "audit_log": list_audit_events,
    "history": list_history,
    "admin_log": list_log_entries,
    "invitations": list_invitations,
    "accepted_invitations": list_accepted_invitations,
    "access_requests": list_access_requests,
    "contacts": list_contacts,
    "second_factors": list_second_factors,
    "company_accounts": list_providers,
    "email_addresses": list_other_addresses,
    "sessions": list_session_rows,
    "attempts": list_attempts,
    "unsent_mail": list_unsent_mail,
}


def export_person(
    user: User, *, actor: User | None = None, included: Collection[str] = ()
) -> Iterator[str]:
    """Record the export in the audit log, and return an iterator of JSON text.

    `included` is as in `find_person()`. Keeps up to BATCH rows in memory.
    """
    record(SecurityEvent.PERSON_EXPORTED, user=user, actor=actor)
    return write_json(find_person(user, included=included))


def write_json(person: Person) -> Iterator[str]:
    yield "{"
    yield f'"format": {encode_json(FORMAT)},'
    yield f'"exported_at": {encode_json(timezone.now())},'
    for name, list_rows in SECTIONS.items():
        yield f"{encode_json(name)}: ["
        separator = ""
        for row in list_rows(person):
            yield f"{separator}{encode_json(row)}"
            separator = ", "
        yield "],"
    yield f'"account": {encode_json(make_account_row(person))}'
    yield "}"


def encode_json(value: Any) -> str:
    """Return JSON that is safe to print on a terminal."""
    text = json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=True)
    # `json.dumps` does not escape DEL, which is a control character.
    return text.replace("\x7f", "\\u007f")
