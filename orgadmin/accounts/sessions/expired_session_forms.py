"""Forms that are sent after the session of their page has ended.

They are kept (`kept_forms.py`), and the person signs in. A form with the CSRF token of
an ended session is treated in the same way: it is never accepted, but shown again.
"""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import REASON_BAD_ORIGIN
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _
from django.views import csrf

from orgadmin.accounts.redirects import find_wanted_page, make_sign_in_url
from orgadmin.accounts.sessions import kept_forms, sessions

NOT_SAVED = _("You were signed out before this was saved. Sign in to continue.")

NOT_KEPT = _(
    "You were signed out before this was saved. What you entered was too long to be"
    " kept."
)


def ask_to_sign_in(request: HttpRequest) -> HttpResponse | None:
    """Keep the form that a visitor has sent, and redirect to the sign-in page.

    Returns None if the request contains no form that can be kept. The URL of the
    sign-in page does not contain the page of the form, which may be nobody's business
    but the person's.
    """
    if not kept_forms.has_kept_form_key(request):
        return None
    # Whoever put the visitor's session into this browser must not know its key now.
    request.session.cycle_key()
    try:
        kept_forms.keep(request)
    except kept_forms.TooLong:
        messages.warning(request, NOT_KEPT)
    else:
        messages.warning(request, NOT_SAVED)
    return redirect("admin:login")


# The pages that people sign in with. What is sent there is not kept.
SIGN_IN_PAGES = (
    "account_login",
    "login",
    "mfa_login_webauthn",
    "openid_connect_login",
)

SIGN_IN_AGAIN = _(
    "The sign-in page was open for too long, or your browser blocks cookies. Sign in"
    " again."
)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Respond to a request with a wrong CSRF token. The setting CSRF_FAILURE_VIEW.

    Django calls this before the other middleware has seen the request.
    """
    response = None
    if was_sent_by_our_page(request, reason):
        sessions.end_expired(request)
        response = show_again(request)
    return response or csrf.csrf_failure(request, reason)


def show_sign_in_page(request: HttpRequest) -> HttpResponse:
    """Show the sign-in page again, which leads people on who are signed in by now.

    They have signed in in another tab, which has changed the CSRF token.
    """
    if not request.user.is_authenticated:
        messages.info(request, SIGN_IN_AGAIN)
    return redirect(make_sign_in_url(find_wanted_page(request)))


def was_sent_by_our_page(request: HttpRequest, reason: str) -> bool:
    """Return whether a request was refused only because its token is wrong.

    Another site could not read the response, but replace the session of a browser.
    Django checks the origin before the token. Browsers send it with each POST.
    """
    origin = request.headers.get("Origin")
    return origin is not None and reason != REASON_BAD_ORIGIN % origin


def show_again(request: HttpRequest) -> HttpResponse | None:
    """Lead the person back to their form, through the sign-in if necessary.

    Returns None if the form is someone else's, or cannot be kept.
    """
    if request.resolver_match.url_name in SIGN_IN_PAGES:
        return show_sign_in_page(request)
    if not request.user.is_authenticated:
        return ask_to_sign_in(request)
    if kept_forms.find_sender(request) != request.user.pk:
        return None
    try:
        kept_forms.keep(request)
    except kept_forms.TooLong:
        return None
    return redirect(request.get_full_path())
