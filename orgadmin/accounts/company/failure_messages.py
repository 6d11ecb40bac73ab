"""Messages for people who could not sign in with a company account.

Apart from invitations, the messages depend only on what the provider says about the
person. So they do not reveal whether the person has an account here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from orgadmin.accounts import throttle
from orgadmin.accounts.company.log import is_misconfigured
from orgadmin.accounts.company.refusal_reasons import Reason, SignInRefused
from orgadmin.accounts.providers import find_provider
from orgadmin.accounts.redirects import find_wanted_page, make_sign_in_url
from orgadmin.models.addresses import fold_email
from orgadmin.people.invitations import find_invitations, resend_invitations

if TYPE_CHECKING:
    from orgadmin.accounts.company.views import Identity

SESSION_KEY = "company_problem"

# The parameter of the sign-in page that reports a problem in a browser without a
# session. Its value is the ID of the provider.
PARAMETER = "again"


class Kind(StrEnum):
    """Which message people see."""

    CANCELED = "canceled"
    UNREACHABLE = "unreachable"
    SETTINGS = "settings"
    AGAIN = "again"
    NOT_ASKED = "not asked"
    NO_EMAIL = "no email"
    UNVERIFIED_EMAIL = "unverified email"
    INVITED = "invited"
    UNKNOWN = "unknown"


TEXTS: dict[Kind, str | Promise] = {
    Kind.CANCELED: _(
        "%(provider)s did not sign you in: you canceled, or your account there cannot"
        " be used for this site."
    ),
    Kind.UNREACHABLE: _(
        "%(provider)s did not respond. Wait a minute, then try again. If you have a"
        " password for this site, you can sign in with it."
    ),
    Kind.SETTINGS: _(
        "Sign-in failed because the connection between this site and %(provider)s is"
        " not set up correctly. You cannot fix this yourself: tell platform staff. If"
        " you have a password for this site, you can sign in with it."
    ),
    Kind.AGAIN: _(
        "Sign-in failed because it took too long, or was started in another browser."
        " Sign in again."
    ),
    Kind.NOT_ASKED: _(
        "%(provider)s did not ask for your password again. Sign out there, then try"
        " again."
    ),
    Kind.NO_EMAIL: _(
        "Your account at %(provider)s has no email address, so this site does not know"
        " who you are."
    ),
    Kind.UNVERIFIED_EMAIL: _(
        "%(provider)s does not confirm that you receive mail at %(email)s, so this site"
        " does not know who you are. Confirm the address there, then try again."
    ),
    Kind.INVITED: _(
        "You are signed in at %(provider)s as %(email)s. You have an invitation that"
        " you have not accepted yet. Open the link in the email that we sent you."
    ),
    Kind.UNKNOWN: _(
        "You are signed in at %(provider)s as %(email)s. You do not have an account"
        " here with this email address, or it is deactivated. If you have a password"
        " for this site, sign in with it and confirm your email address, then try"
        " again."
    ),
}

# The problems for which choosing another account at the provider may help.
WITH_ANOTHER_ACCOUNT = (
    Kind.CANCELED,
    Kind.NO_EMAIL,
    Kind.UNVERIFIED_EMAIL,
    Kind.INVITED,
    Kind.UNKNOWN,
)

# The reasons why this site does not admit someone although the provider knows them.
NOT_ADMITTED = (
    Reason.NO_EMAIL,
    Reason.UNVERIFIED_EMAIL,
    Reason.NO_ACCOUNT,
    Reason.UNVERIFIED_ACCOUNT,
    Reason.OTHER_SUBJECT,
    Reason.INACTIVE,
)

# The OAuth errors with which a provider reports that it is temporarily unavailable.
BUSY = ("server_error", "temporarily_unavailable")


@dataclass(frozen=True)
class Problem:
    """Why someone could not sign in.

    `email` is their address at the provider, or "".
    """

    kind: str
    provider_id: str
    provider: str  # its name
    email: str = ""
    is_shown: bool = False

    @property
    def text(self) -> str:
        values = {"provider": self.provider, "email": self.email}
        return str(TEXTS[Kind(self.kind)]) % values

    @property
    def can_use_another_account(self) -> bool:
        return self.kind in WITH_ANOTHER_ACCOUNT

    @property
    def is_harmless(self) -> bool:
        return self.kind == Kind.CANCELED

    @property
    def is_for_operators(self) -> bool:
        return self.kind == Kind.SETTINGS

    @property
    def is_invited(self) -> bool:
        return self.kind == Kind.INVITED


def choose_kind(refusal: SignInRefused, identity: Identity | None) -> Kind:
    """Return the kind of message to show. `identity` is None if it is not known."""
    if refusal.reason in NOT_ADMITTED and identity is not None:
        return choose_kind_if_not_admitted(identity)
    if refusal.reason == Reason.CANCELED:
        return Kind.CANCELED
    if refusal.reason == Reason.NOT_AGAIN:
        return Kind.NOT_ASKED
    if refusal.reason == Reason.UNREACHABLE or refusal.detail in BUSY:
        return Kind.UNREACHABLE
    return Kind.SETTINGS if is_misconfigured(refusal) else Kind.AGAIN


def choose_kind_if_not_admitted(identity: Identity) -> Kind:
    """Return the kind of message for someone who cannot sign in with an account here.

    They have signed in at the provider.
    """
    if not identity.email:
        return Kind.NO_EMAIL
    if not identity.is_email_verified:
        return Kind.UNVERIFIED_EMAIL
    # Accounts are not looked up, so the message does not reveal whether there is one.
    if find_invitations(identity.email):
        return Kind.INVITED
    return Kind.UNKNOWN


def store_problem(problem: Problem, session: SessionBase) -> None:
    """Store a problem in the session for the sign-in page, which shows it once."""
    session[SESSION_KEY] = asdict(problem)


def find_problem(session: SessionBase) -> Problem | None:
    """Return the last problem that was stored in this session, or None.

    Includes a problem that was already shown.
    """
    values = session.get(SESSION_KEY)
    return Problem(**values) if values is not None else None


def take_problem(request: HttpRequest) -> Problem | None:
    """Return the problem that the sign-in page shows, and mark it as shown.

    Without a stored problem that was not shown yet, returns the problem in the URL, or
    None.
    """
    problem = find_problem(request.session)
    if problem is None or problem.is_shown:
        return find_without_session(request)
    store_problem(replace(problem, is_shown=True), request.session)
    return problem


def make_url_without_session(provider_id: str) -> str:
    """Return the URL of the sign-in page that tells people to sign in again.

    The problem is in the URL because the browser has no session. If each failed attempt
    created a session, visitors could fill the database with sessions.
    """
    return f"{reverse('admin:login')}?{urlencode({PARAMETER: provider_id})}"


def find_without_session(request: HttpRequest) -> Problem | None:
    """Return the problem in a URL from `make_url_without_session()`, or None."""
    provider_id = request.GET.get(PARAMETER)
    for provider in settings.OIDC_PROVIDERS:
        if provider.id == provider_id:
            return Problem(Kind.AGAIN, provider.id, provider.name)
    return None


@require_POST
def send_invitation_view(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Send the links of invitations again, to the address that the provider confirms.

    The response is the same whether or not the invitation still exists.
    """
    find_provider(provider_id)
    problem = find_problem(request.session)
    if problem is None or not problem.is_invited:
        return redirect("admin:login")
    if throttle.count_attempt("mail", fold_email(problem.email)):
        resend_invitations(problem.email)
    text = _("If the invitation is still valid, its link is on its way to “%s”.")
    messages.success(request, text % problem.email)
    return redirect(make_sign_in_url(find_wanted_page(request)))
