"""Handles forms that are sent after the session of their page has ended.

The form is kept (`kept_forms.py`), and the person is asked to sign in. Forms with the
CSRF token of an ended session are handled in the same way: they are never accepted, but
shown again.
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

    Returns None if the request does not contain a form with a signed key. If the form
    is too long, it is not kept, and a message says so. The URL of the sign-in page does
    not contain the form's page, because visitors must not learn which page it was.
    """
    if not kept_forms.has_kept_form_key(request):
        return None
    # An attacker may have planted the visitor's session in this browser, and must not
    # know the key of the session that contains the form.
    request.session.cycle_key()
    try:
        kept_forms.keep_form(request)
    except kept_forms.TooLong:
        messages.warning(request, NOT_KEPT)
    else:
        messages.warning(request, NOT_SAVED)
    return redirect("admin:login")


# The names of the URLs of the sign-in pages, whose forms are not kept.
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
    """Respond to a request with a wrong CSRF token (the setting CSRF_FAILURE_VIEW).

    If a page of this site has sent a form with a signed key, the form is shown again.
    The sign-in pages are opened again. All other requests get Django's error page. The
    middleware that ends expired sessions has not run yet, so this ends the session if
    it has expired.
    """
    response = None
    if was_sent_by_our_page(request, reason):
        sessions.end_expired_session(request)
        response = show_form_again(request)
    return response or csrf.csrf_failure(request, reason)


def show_sign_in_page(request: HttpRequest) -> HttpResponse:
    """Redirect to the sign-in page.

    The token may be wrong because the person has signed in in another tab. In that
    case, the sign-in page redirects them to the page that they want.
    """
    if not request.user.is_authenticated:
        messages.info(request, SIGN_IN_AGAIN)
    return redirect(make_sign_in_url(find_wanted_page(request)))


def was_sent_by_our_page(request: HttpRequest, reason: str) -> bool:
    """Return whether a request comes from this site, and only its token is wrong.

    A request from another site must not get here, because it could replace the
    browser's session. Django checks the Origin header, which browsers send with each
    POST, before it checks the token.
    """
    origin = request.headers.get("Origin")
    return origin is not None and reason != REASON_BAD_ORIGIN % origin


def show_form_again(request: HttpRequest) -> HttpResponse | None:
    """Redirect the person back to their form, or to the sign-in page if necessary.

    Returns None if the form has no signed key, if its key belongs to someone other than
    the person who is signed in, or if the form is too long to be kept for this person.
    """
    if request.resolver_match.url_name in SIGN_IN_PAGES:
        return show_sign_in_page(request)
    if not request.user.is_authenticated:
        return ask_to_sign_in(request)
    if kept_forms.find_form_owner(request) != request.user.pk:
        return None
    try:
        kept_forms.keep_form(request)
    except kept_forms.TooLong:
        return None
    return redirect(request.get_full_path())
