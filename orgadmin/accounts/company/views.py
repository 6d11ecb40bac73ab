"""The pages to sign in with a company account, and the choice of the account here.

The first sign-in links the person at the provider to the account with their email
address. This site must have verified that address, and so must the provider, unless the
settings trust its addresses. Later sign-ins use the link. An account can be linked to
only one person at each provider. A new account is only created for people who come from
an invitation to their address.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from allauth.account.internal.flows.login import record_authentication
from allauth.account.utils import get_next_redirect_url, perform_login
from allauth.socialaccount.internal import statekit
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.providers.oauth2.utils import generate_code_challenge
from django.conf import settings
from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import get_random_string

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.accounts import round_trips
from orgadmin.accounts.company import openid
from orgadmin.accounts.company.claims import LEEWAY
from orgadmin.accounts.company.failure_messages import (
    Problem,
    choose_kind,
    make_url_without_session,
    store_problem,
)
from orgadmin.accounts.company.log import log_refusal, log_success
from orgadmin.accounts.company.refusal_reasons import (
    Reason,
    SignInRefused,
    Step,
    in_step,
)
from orgadmin.accounts.company.sessions import (
    CompanySession,
    encrypt_id_token,
    hash_sid,
    hash_subject,
)
from orgadmin.accounts.invited_people import accept_with_company_account
from orgadmin.accounts.own_pages import find_home
from orgadmin.accounts.providers import find_provider
from orgadmin.accounts.redirects import make_sign_in_url
from orgadmin.accounts.sessions.sessions import end_session_before_sign_in
from orgadmin.models import User
from orgadmin.people.invitations import InvitationError
from orgadmin.people.provider_groups import apply_groups

if TYPE_CHECKING:
    from config.providers import OpenIDProvider

NONCE_LENGTH = 32  # characters


@dataclass(frozen=True)
class Identity:
    """A person at a provider, as this site knows them."""

    provider: str
    server: str  # the URL of the provider
    subject: str  # a hash of the URL and of the person's ID
    email: str
    is_email_verified: bool
    groups: tuple[str, ...] | None = None  # as in `openid.Person`
    signed_in_at: float | None = None  # as in `openid.Person`
    session: CompanySession | None = None


def sign_in_view(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Show a page with a button that starts the sign-in, or start it.

    The request can have two parameters: "next" is the page to open afterwards, and
    "another_account" asks the provider to show a choice of accounts.
    """
    provider = find_provider(provider_id)
    if request.method != "POST":
        context = {**admin.site.each_context(request), "provider": provider}
        return render(request, "socialaccount/login.html", context)
    try:
        return start(request, provider)
    except SignInRefused as refusal:
        wanted = get_next_redirect_url(request)
        return refuse(request, provider, refusal, wanted=wanted)


def callback_view(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Sign in the person who comes back from the provider."""
    provider = find_provider(provider_id)
    key = request.GET.get("state", "")
    return round_trips.end_trip(request, key, finish(request, provider, key))


def finish(request: HttpRequest, provider: OpenIDProvider, key: str) -> HttpResponse:
    """Sign in the person, and return a redirect to the page to open now.

    If the sign-in is refused, this is a page that says why. `key` identifies the
    sign-in.
    """
    identity = None
    try:
        with in_step(Step.RESPONSE):
            state = take_state(request, provider, key)
        identity = fetch_identity(request, provider, state)
        with in_step(Step.ACCOUNT):
            check_asked_again(identity, state)
            user = find_invited_user(request, identity, state.get("next") or "")
    except SignInRefused as refusal:
        if refusal.reason == Reason.NOT_STARTED and request.user.is_authenticated:
            # The person pressed "Back", or signed in in another tab.
            return redirect(round_trips.find_page_after_trip(request, key))
        wanted = round_trips.find_wanted_page(request, key)
        return refuse(request, provider, refusal, identity, wanted=wanted)
    if identity.groups is not None:
        apply_groups(user, provider, identity.groups)
    # The old session may be someone else's, or may have used a second factor already.
    end_session_before_sign_in(request)
    record_authentication(
        request,
        user,
        method="company",
        signed_in_at=identity.signed_in_at,
        company=asdict(identity.session) if identity.session else None,
    )
    response = perform_login(request, user, redirect_url=state.get("next"))
    is_done = request.user.is_authenticated
    log_success(provider.id, identity.subject, user, is_done=is_done)
    return response


def describe_client(provider: OpenIDProvider) -> openid.Client:
    """Return this site as a client of the provider."""
    path = reverse("openid_connect_callback", args=[provider.id])
    return openid.Client(
        id=provider.client_id,
        secret=provider.client_secret,
        # The host does not come from the request, because visitors can change it there.
        redirect_uri=f"{settings.BASE_URL}{path}",
        scopes=provider.scopes,
        groups_claim=provider.groups_claim,
    )


def start(request: HttpRequest, provider: OpenIDProvider) -> HttpResponse:
    """Start a sign-in, and redirect the person to the provider.

    Raises `SignInRefused` if the provider's configuration cannot be read.
    """
    with in_step(Step.DISCOVERY):
        configuration = openid.fetch_configuration(provider.server)
    pkce = generate_code_challenge()
    nonce = get_random_string(NONCE_LENGTH)
    # People who are already signed in here want to confirm who they are.
    asks_again = request.user.is_authenticated
    remembered = {
        "next": get_next_redirect_url(request),
        "pkce_code_verifier": pkce["code_verifier"],
        "nonce": nonce,
        "asked_again_at": time.time() if asks_again else None,
    }
    state = statekit.stash_state(request, provider_id=provider.id, state=remembered)
    attempt = openid.Attempt(state, nonce, pkce["code_verifier"])
    url = openid.build_authorization_url(
        configuration,
        describe_client(provider),
        attempt,
        pkce["code_challenge"],
        asks_again=asks_again,
        chooses_account="another_account" in request.POST,
    )
    wanted = remembered["next"]
    return round_trips.start_trip(
        request, provider.id, key=state, url=url, wanted=wanted
    )


def take_state(
    request: HttpRequest, provider: OpenIDProvider, key: str
) -> dict[str, Any]:
    """Remove the values that `start` stored about this sign-in, and return them.

    Each sign-in can be continued only once, and only for the same provider. Otherwise,
    raises `SignInRefused`.
    """
    state = statekit.unstash_state(request, state_id=key, provider_id=provider.id)
    # An earlier release started sign-ins without a nonce.
    if state is None or "nonce" not in state:
        raise SignInRefused(Reason.NOT_STARTED)
    return state


def fetch_identity(
    request: HttpRequest, provider: OpenIDProvider, state: dict[str, Any]
) -> Identity:
    """Return the person who has signed in at the provider. Raises `SignInRefused`."""
    with in_step(Step.RESPONSE):
        openid.check_no_error(request.GET)
    client = describe_client(provider)
    attempt = openid.Attempt(
        request.GET["state"], state["nonce"], state["pkce_code_verifier"]
    )
    with in_step(Step.DISCOVERY):
        configuration = openid.fetch_configuration(provider.server)
    with in_step(Step.RESPONSE):
        code = openid.read_code(request.GET, configuration)
    with in_step(Step.TOKEN):
        tokens = openid.fetch_tokens(configuration, client, attempt, code)
    person = openid.fetch_person(configuration, client, attempt, tokens)
    is_email_verified = person.is_email_verified
    if is_email_verified is None:
        is_email_verified = provider.trusts_email
    server = provider.server
    subject = hash_subject(server, person.subject)
    session = CompanySession(
        provider=provider.id,
        subject=subject,
        sid=hash_sid(server, person.session_id),
        id_token=encrypt_id_token(tokens.id_token),
        can_sign_out=bool(configuration.end_session_endpoint),
        since=time.time(),
    )
    return Identity(
        provider=provider.id,
        server=server,
        subject=subject,
        email=person.email,
        is_email_verified=is_email_verified,
        groups=person.groups,
        signed_in_at=person.signed_in_at,
        session=session,
    )


def check_asked_again(identity: Identity, state: dict[str, Any]) -> None:
    """Refuse people who wanted to confirm who they are, but were not asked to sign in.

    If the provider does not say when it last asked, trust that it has asked as it was
    told to.
    """
    asked_again_at = state.get("asked_again_at")
    if asked_again_at is None or identity.signed_in_at is None:
        return
    if identity.signed_in_at < asked_again_at - LEEWAY:
        raise SignInRefused(Reason.NOT_AGAIN, subject=identity.subject)


def find_invited_user(request: HttpRequest, identity: Identity, wanted: str) -> User:
    """Return the account of a person, or create one if they accept an invitation.

    They accept an invitation if they come from its link, and the provider confirms that
    the invited address is theirs. `wanted` is the page that they come from. Raises
    `SignInRefused`.
    """
    try:
        return find_user(identity)
    except SignInRefused as refusal:
        if refusal.reason not in (Reason.NO_ACCOUNT, Reason.UNVERIFIED_ACCOUNT):
            raise
        with transaction.atomic():
            if not accept_invitation(request, identity, wanted):
                raise
            return find_user(identity)


def accept_invitation(request: HttpRequest, identity: Identity, wanted: str) -> bool:
    """Accept the invitation that the person comes from, and return whether this worked.

    If the invitation can no longer be accepted, adds a message for the next page.
    """
    try:
        account = accept_with_company_account(request, wanted, identity.email)
    except InvitationError as error:
        messages.error(request, str(error.explanation))
        return False
    return account is not None


def find_user(identity: Identity) -> User:
    """Return the account that is linked to a person at the provider.

    If no account is linked yet, links the account with the person's address. Raises
    `SignInRefused`.
    """
    links = SocialAccount.objects.filter(
        provider=identity.provider, uid=identity.subject
    )
    link = links.select_related("user").first()
    if link is None:
        return link_account(identity)
    check_active(link.user, identity)
    # link.save() would restore a link that was removed in the meantime.
    links.update(last_login=timezone.now(), extra_data={"server": identity.server})
    return link.user


@transaction.atomic
def link_account(identity: Identity) -> User:
    """Link the person to the account with their email address, and return the account.

    The account is locked, so that two people cannot be linked to it at the same time.
    Raises `SignInRefused`.
    """
    if not identity.email:
        raise SignInRefused(Reason.NO_EMAIL, subject=identity.subject)
    if not identity.is_email_verified:
        raise SignInRefused(Reason.UNVERIFIED_EMAIL, subject=identity.subject)
    user = lock_account(identity.email)
    if user is None:
        raise SignInRefused(Reason.NO_ACCOUNT, subject=identity.subject)
    if is_linked_to_another(user, identity):
        raise make_refusal(Reason.OTHER_SUBJECT, user, identity)
    if not user.has_verified_email:
        raise make_refusal(Reason.UNVERIFIED_ACCOUNT, user, identity)
    link, is_new = SocialAccount.objects.get_or_create(
        provider=identity.provider,
        uid=identity.subject,
        defaults={"user": user, "extra_data": {"server": identity.server}},
    )
    # If this raises, the transaction also undoes the link. The link is not new if the
    # same person is signing in twice at the same time.
    check_active(link.user, identity)
    if is_new:
        record(
            SecurityEvent.PROVIDER_LINKED,
            user=user,
            actor=user,
            details={"provider": identity.provider, "subject": identity.subject},
        )
    return link.user


def lock_account(email: str) -> User | None:
    """Lock and return the account with an email address.

    Returns None if there is none, or if its address is being changed at the same time.
    """
    found = User.objects.find_by_email(email)
    if found is None:
        return None
    locked = User.objects.select_for_update(no_key=True)
    return locked.filter(pk=found.pk, email=found.email).first()


def is_linked_to_another(user: User, identity: Identity) -> bool:
    """Return whether the account is linked to another person at this provider.

    Links that were made with another provider URL do not count: the site has changed
    its provider since those links were made. Links that were made before the URL was
    stored do count.
    """
    links = SocialAccount.objects.filter(user=user, provider=identity.provider)
    for link in links.exclude(uid=identity.subject):
        if link.extra_data.get("server", identity.server) == identity.server:
            return True
    return False


def check_active(user: User, identity: Identity) -> None:
    if not user.is_active:
        raise make_refusal(Reason.INACTIVE, user, identity)


def make_refusal(reason: Reason, user: User, identity: Identity) -> SignInRefused:
    return SignInRefused(reason, user=user, subject=identity.subject)


def refuse(
    request: HttpRequest,
    provider: OpenIDProvider,
    refusal: SignInRefused,
    identity: Identity | None = None,
    *,
    wanted: str | None,
) -> HttpResponse:
    """Log a refusal with its reason, and redirect to a page that tells people about it.

    `identity` is what the provider says about the person, if it is known. `wanted` is
    the page to open after the next sign-in, or now if the person is already signed in.
    """
    log_refusal(provider.id, refusal)
    problem = Problem(
        kind=choose_kind(refusal, identity),
        provider_id=provider.id,
        provider=provider.name,
        email=identity.email if identity is not None else "",
    )
    if request.user.is_authenticated:
        messages.warning(request, problem.text)
        return redirect(wanted or find_home(request.user))
    if refusal.reason == Reason.NOT_STARTED and request.session.session_key is None:
        return redirect(make_url_without_session(provider.id))
    store_problem(problem, request.session)
    return redirect(make_sign_in_url(wanted))
