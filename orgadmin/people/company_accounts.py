"""Links between accounts and company accounts: listing, removing and moving them.

A link connects an account on this site to a person at an OpenID provider.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.db import transaction

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.access.providers import name_provider
from orgadmin.models import AuditEvent, User

if TYPE_CHECKING:
    from django.db.models import QuerySet

# The reason for which another person with the address of a linked account is refused.
# All reasons are in orgadmin.accounts.company.refusal_reasons, which this package must
# not import.
OTHER_SUBJECT = "other subject"

# The maximum number of refusals that are read, starting with the newest.
MAX_READ = 200


@dataclass(frozen=True)
class CompanyAccount:
    """A link as pages show it."""

    pk: int
    provider: str  # its name
    server: str  # the provider's URL; "" in old links that were not used again
    since: datetime.datetime
    last_used: datetime.datetime
    # Whether the person can sign in with the link: its provider is still in the
    # settings, with the same URL.
    is_usable: bool


@dataclass
class RefusedAccount:
    """A company account that was refused, because the user has a link to another one.

    When it was refused, it had the user's email address.
    """

    subject: str  # the hash of the company account's ID
    link: CompanyAccount  # the user's link to the other company account
    last_at: datetime.datetime
    attempts: int = 0

    @property
    def short_subject(self) -> str:
        """The beginning of the hash, which is enough to find it in the log."""
        return self.subject[:8]


def list_company_accounts(user: User) -> list[CompanyAccount]:
    """Return the links of an account, oldest first. Runs one query."""
    links = SocialAccount.objects.filter(user=user).order_by("date_joined", "pk")
    return [describe_link(link) for link in links]


def describe_link(link: SocialAccount) -> CompanyAccount:
    return CompanyAccount(
        pk=link.pk,
        provider=name_provider(link.provider),
        server=link.extra_data.get("server", ""),
        since=link.date_joined,
        last_used=link.last_login,
        is_usable=is_usable(link),
    )


def is_usable(link: SocialAccount) -> bool:
    """Return whether a link's provider is still in the settings, with the same URL.

    Old links do not have a URL, which counts as the same.
    """
    for provider in settings.OIDC_PROVIDERS:
        if provider.id == link.provider:
            return link.extra_data.get("server", provider.server) == provider.server
    return False


def list_refused_accounts(user: User) -> list[RefusedAccount]:
    """Return the company accounts that were refused because of the user's links.

    The newest are first. Reads only the newest MAX_READ refusals in the audit log.
    Leaves out company accounts that are now linked to a user, and refusals that are
    older than the link. Runs up to three queries.
    """
    links = {
        link.provider: link
        for link in SocialAccount.objects.filter(user=user).order_by("pk")
        if is_usable(link)
    }
    refusals = AuditEvent.objects.filter(
        user_key=user.pk, event=SecurityEvent.PROVIDER_REFUSED
    )
    found: dict[str, RefusedAccount] = {}
    for event in refusals.order_by("-pk")[:MAX_READ]:
        link = links.get(event.details.get("provider"))
        subject = event.details.get("subject")
        if event.details.get("reason") != OTHER_SUBJECT or link is None:
            continue
        if event.at <= link.date_joined:
            continue
        account = RefusedAccount(subject, describe_link(link), event.at)
        found.setdefault(subject, account).attempts += 1
    linked = SocialAccount.objects.filter(uid__in=found)
    known = set(linked.values_list("uid", flat=True))
    return [account for subject, account in found.items() if subject not in known]


def remove_company_accounts(user: User, *, actor: User) -> int:
    """Remove all links of an account, as `remove_links()` does. Return their number."""
    return remove_links(user, SocialAccount.objects.filter(user=user), actor=actor)


def remove_company_account(user: User, pk: int, *, actor: User) -> bool:
    """Remove one link of an account. Return whether it existed."""
    links = SocialAccount.objects.filter(user=user, pk=pk)
    return remove_links(user, links, actor=actor) > 0


@transaction.atomic
def remove_links(
    user: User, links: QuerySet[SocialAccount], *, actor: User | None
) -> int:
    """Remove links of an account, and return their number.

    Afterwards, the next company account with the user's verified address can be linked
    to the account. Does not end sessions; the caller must do that.
    """
    lock_account(user)
    removed = list(links)
    for link in removed:
        link.delete()
        record_change(SecurityEvent.PROVIDER_UNLINKED, user, link, actor)
    return len(removed)


@transaction.atomic
def move_link(user: User, pk: int, subject: str, *, actor: User) -> bool:
    """Link a user to a company account that was refused before.

    The company account replaces the one of the link `pk`. Returns False, without
    changes, if `list_refused_accounts()` does not contain the company account with this
    link, for example because the company account was linked in the meantime. Does not
    end sessions; the caller must do that.
    """
    lock_account(user)
    refused = [
        account
        for account in list_refused_accounts(user)
        if account.subject == subject and account.link.pk == pk
    ]
    if not refused:
        return False
    old = SocialAccount.objects.get(pk=pk)
    old.delete()
    record_change(SecurityEvent.PROVIDER_UNLINKED, user, old, actor)
    new = SocialAccount.objects.create(
        user=user, provider=old.provider, uid=subject, extra_data=old.extra_data
    )
    record_change(SecurityEvent.PROVIDER_LINKED, user, new, actor)
    return True


def lock_account(user: User) -> None:
    """Lock the user, so that no other code changes the links of the account."""
    # Code that links an account takes the same lock
    # (orgadmin/accounts/company/views.py).
    User.objects.select_for_update(no_key=True).get(pk=user.pk)


def record_change(
    event: SecurityEvent, user: User, link: SocialAccount, actor: User | None
) -> None:
    """Record in the audit log that a link was added or removed."""
    details = {"provider": link.provider, "subject": link.uid}
    record(event, user=user, actor=actor, details=details)
