"""The company accounts that people sign in with, and removing them."""

from __future__ import annotations

from allauth.socialaccount.models import SocialAccount
from django.db import transaction

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.models import User


@transaction.atomic
def remove_company_accounts(user: User, *, actor: User) -> int:
    """Remove a user's links to company accounts. Returns their number.

    The next person who signs in at the provider with the user's verified address is
    linked to the user. Sessions continue; the caller ends them.
    """
    # Also locked when an account is linked (orgadmin/accounts/company.py).
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    links = list(SocialAccount.objects.filter(user=user))
    for link in links:
        link.delete()
        record(
            SecurityEvent.PROVIDER_UNLINKED,
            user=user,
            actor=actor,
            details={"provider": link.provider, "subject": link.uid},
        )
    return len(links)
