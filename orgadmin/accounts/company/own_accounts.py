"""Lists and removes a person's own company accounts, for the account page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

from orgadmin.accounts.second_factor.passkeys import can_use_passkey
from orgadmin.accounts.sessions.sessions import keep_session
from orgadmin.models import User
from orgadmin.models.validators import is_primary_key
from orgadmin.people.company_accounts import (
    CompanyAccount,
    list_company_accounts,
    lock_account,
    remove_company_account,
)


@dataclass(frozen=True)
class OwnCompanyAccount:
    """A company account, and whether its owner can remove it."""

    account: CompanyAccount
    # False if the person needs this account to sign in.
    is_removable: bool


def list_own_company_accounts(user: User) -> list[OwnCompanyAccount]:
    """Return the company accounts of a person, or none if this site has no providers.

    Runs up to one query, and one more for people without a password.
    """
    accounts = list_company_accounts(user) if settings.OIDC_PROVIDERS else []
    if not accounts:
        return []
    has_other_way = user.has_usable_password() or can_use_passkey(user)
    return [
        OwnCompanyAccount(account, has_other_way or has_other_usable(account, accounts))
        for account in accounts
    ]


def has_other_usable(
    account: CompanyAccount, accounts: Sequence[CompanyAccount]
) -> bool:
    """Return whether the person can sign in with another of their company accounts."""
    return any(other.is_usable for other in accounts if other != account)


def find_own_company_account(request: HttpRequest) -> OwnCompanyAccount | None:
    """Return the person's company account that was chosen in the form, or None."""
    for own in list_own_company_accounts(request.user):
        if str(own.account.pk) == request.POST.get("account"):
            return own
    return None


@transaction.atomic
def remove_own_company_account(request: HttpRequest) -> bool:
    """Remove one of the person's company accounts, unless they need it to sign in.

    Also ends all other sessions of the person, because someone else may have used the
    company account to sign in. Returns whether the account was removed, and adds a
    message about it.
    """
    sent = request.POST.get("account", "")
    pk = int(sent) if is_primary_key(sent) else None
    # Otherwise, two requests at the same time could remove the last two accounts.
    lock_account(request.user)
    user = User.objects.get(pk=request.user.pk)
    for own in list_own_company_accounts(user):
        if own.account.pk == pk:
            break
    else:
        messages.info(request, _("This company account was already removed."))
        return False
    if not own.is_removable:
        text = _(
            "The company account was not removed, because you cannot sign in without"
            " it."
        )
        messages.error(request, text)
        return False
    remove_company_account(user, own.account.pk, actor=user)
    request.user.end_sessions()
    keep_session(request, request.user)
    text = _(
        "The company account was removed: %s. If someone signs in there with your email"
        " address, it is added again."
    )
    messages.success(request, text % own.account.provider)
    messages.success(request, _("You were signed out on all your other devices."))
    return True
