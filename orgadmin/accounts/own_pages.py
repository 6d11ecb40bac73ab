"""The pages about one's own account, which everyone who is signed in can open.

People who cannot use the admin, because they do not have access to any organization,
can open only these pages. The rest of the site treats them like visitors.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from django.http import HttpRequest
from django.urls import Resolver404, resolve

from orgadmin.gate.answers import Gate
from orgadmin.models import User

# The names of the URLs of these pages. A new page is closed to people without access
# until its name is added here.
OWN_PAGES = frozenset(
    [
        "admin:account",
        "admin:activity",
        "admin:end_session",
        "admin:password_change",
        "admin:password_change_done",
        "admin:sign_out_elsewhere",
        "confirm_email",
        "confirm_email_link",
        "invitation",
        "new_email_link",
        "mfa_activate_totp",
        "mfa_add_webauthn",
        "mfa_add_webauthn_options",
        "mfa_deactivate_totp",
        "mfa_download_recovery_codes",
        "mfa_edit_webauthn",
        "mfa_generate_recovery_codes",
        "mfa_index",
        "mfa_open_set_up_link",
        "mfa_remove_webauthn",
        "mfa_set_up_link",
        "mfa_view_recovery_codes",
        "no_organization",
        "request_access",
    ]
)


def is_own_page(request: HttpRequest) -> bool:
    """Return whether the request is for a page about the signed-in person's account."""
    match = request.resolver_match
    if match is None or not request.user.is_authenticated:
        return False
    return match.view_name in OWN_PAGES


def find_home(user: User) -> str:
    """Return the URL name of the page to show a person after they sign in."""
    return "admin:index" if Gate(user).may_enter else "no_organization"


def leads_to_own_page(url: str) -> bool:
    """Return whether a URL of this site is one of OWN_PAGES."""
    try:
        return resolve(urlsplit(url).path).view_name in OWN_PAGES
    except Resolver404:
        return False
