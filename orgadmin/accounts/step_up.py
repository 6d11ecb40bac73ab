"""Asks people whose sign-in is not recent to confirm who they are.

If a request requires a recent sign-in, the response is a page that asks for the
password (and for a code, if the person has a second factor), or for a passkey. The page
also contains the fields of the original request as hidden fields, so that the request
can continue after the person has confirmed who they are. The fields may contain new
passwords, so the server does not store them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.accounts.busy import make_busy_error, mark_busy
from orgadmin.accounts.hashing import TooBusy
from orgadmin.accounts.passwords import check_own_password
from orgadmin.accounts.second_factor.forms import SecondFactorForm
from orgadmin.accounts.second_factor.passkey_forms import PasskeyForm
from orgadmin.accounts.second_factor.passkeys import can_use_passkey
from orgadmin.accounts.sessions.sessions import confirm_identity, is_sign_in_recent
from orgadmin.accounts.view_as_session import NotWhileViewing, get_viewing
from orgadmin.models import User
from orgadmin.people.second_factors import has_app, has_second_factor

if TYPE_CHECKING:
    from config.providers import OpenIDProvider

SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")

# The prefix of the names of the fields that this module adds to a request.
PREFIX = "step-up"

# The field of the button for people who have just signed in again in another tab.
CONTINUE = f"{PREFIX}-continue"

# The field with the browser's response about a passkey.
PASSKEY = f"{PREFIX}-credential"

# The field that is sent if the original request cannot continue, because it contained
# files or was a GET. The page of the original request is then opened again.
REOPEN = f"{PREFIX}-reopen"


class IdentityForm(forms.Form):
    """Asks for the password, and for a code if the person has a second factor.

    Wrong passwords and codes are counted for each person. Otherwise, someone with a
    stolen session could guess them.
    """

    prefix = PREFIX

    password = forms.CharField(
        label=_("Your password"),
        strip=False,
        widget=forms.PasswordInput(
            {"autocomplete": "current-password", "autofocus": True}
        ),
    )
    code = forms.CharField(
        label=_("Code from your authenticator app"),
        widget=forms.TextInput({"autocomplete": "one-time-code"}),
        help_text=_("Or one of your recovery codes."),
    )

    def __init__(self, user: User, data: QueryDict | None = None) -> None:
        super().__init__(data)
        self.user = user
        self.factor: Authenticator | None = None
        if not has_second_factor(user):
            del self.fields["code"]
        elif not has_app(user):
            self.fields["code"].label = _("One of your recovery codes")
            self.fields["code"].help_text = ""

    def clean(self) -> None:
        if self.errors:
            return
        password = self.cleaned_data["password"]
        try:
            is_right = check_own_password(self.user, password, kind="step-up")
        except TooBusy as error:
            raise make_busy_error() from error
        if not is_right:
            raise self._make_error()
        if "code" in self.fields:
            self.factor = self._find_factor()

    def _find_factor(self) -> Authenticator:
        """Return the second factor of the code. Raises `ValidationError`."""
        form = SecondFactorForm(
            user=self.user, data={"code": self.cleaned_data["code"]}
        )
        if not form.is_valid():
            raise self._make_error()
        return form.authenticator

    def _make_error(self) -> ValidationError:
        if "code" in self.fields:
            return ValidationError(
                _("The password or the code is wrong. Enter both again.")
            )
        return ValidationError(_("The password is wrong. Enter it again."))


@dataclass(frozen=True)
class Answer:
    """What someone entered on the page that asks them to confirm who they are."""

    data: QueryDict

    @property
    def has_to_reopen(self) -> bool:
        return REOPEN in self.data

    @property
    def says_signed_in_elsewhere(self) -> bool:
        """Whether the person says that they signed in again with a company account."""
        return CONTINUE in self.data

    @property
    def has_passkey(self) -> bool:
        return PASSKEY in self.data

    def make_form(self, user: User) -> IdentityForm | PasskeyForm:
        if self.has_passkey:
            return PasskeyForm(user=user, data={"credential": self.data[PASSKEY]})
        return IdentityForm(user, self.data)


def ask_for_recent_sign_in(request: HttpRequest) -> HttpResponse | None:
    """Return the page that asks people to confirm who they are, if that is necessary.

    Returns None if the request can continue. `request.POST` then contains only the
    fields of the original request. If the original request cannot continue, for example
    because it contained files, returns a redirect that opens its page again.

    Raises `NotWhileViewing` while a superuser views the site as someone else. The
    superuser cannot prove to be that person, and the superuser's own recent sign-in
    must not count.
    """
    if get_viewing(request) is not None:
        raise NotWhileViewing
    answer = take_answer(request)
    if is_sign_in_recent(request.session):
        return continue_request(request, answer)
    user = request.user
    if answer is None or answer.says_signed_in_elsewhere:
        return show_page(request, IdentityForm(user), answer)
    form = answer.make_form(user)
    if not form.is_valid():
        return mark_busy(show_page(request, form, answer), form)
    confirm_identity(request, user, form.factor)
    record(
        SecurityEvent.IDENTITY_CONFIRMED,
        user=user,
        actor=user,
        details={"factor": form.factor.type if form.factor else ""},
    )
    return continue_request(request, answer)


def take_answer(request: HttpRequest) -> Answer | None:
    """Remove the fields that this module has added to a request, and return them.

    Returns None if the request does not come from the page that asks people to confirm
    who they are.
    """
    names = [name for name in request.POST if name.startswith(f"{PREFIX}-")]
    if not names:
        return None
    original = request.POST.copy()
    data = QueryDict(mutable=True)
    for name in names:
        data.setlist(name, original.pop(name))
    original._mutable = False
    request.POST = original
    return Answer(data)


def continue_request(
    request: HttpRequest, answer: Answer | None
) -> HttpResponse | None:
    """Return None, or a redirect if the original page must be opened again."""
    if answer is not None and answer.has_to_reopen:
        return HttpResponseRedirect(request.get_full_path())
    return None


def show_page(
    request: HttpRequest, form: IdentityForm | PasskeyForm, answer: Answer | None
) -> HttpResponse:
    """Show the page that asks the person to confirm who they are."""
    is_passkey = isinstance(form, PasskeyForm)
    if answer is not None:
        has_to_reopen = answer.has_to_reopen
    else:
        has_to_reopen = request.method != "POST" or bool(request.FILES)
    context = {
        **admin.site.each_context(request),
        "title": _("Confirm it’s you"),
        "form": IdentityForm(request.user) if is_passkey else form,
        "passkey_form": form if is_passkey else None,
        "passkey_field": PASSKEY,
        "has_passkey": can_use_passkey(request.user),
        "posted": [] if has_to_reopen else list_fields(request.POST),
        "had_files": bool(request.FILES),
        "reopen_field": REOPEN if has_to_reopen else "",
        "continue_field": CONTINUE,
        "did_not_sign_in": answer is not None and answer.says_signed_in_elsewhere,
        "has_password": request.user.has_usable_password(),
        "own_providers": list_own_providers(request.user),
    }
    return render(request, "registration/confirm_identity.html", context)


def list_fields(
    data: QueryDict, *, without: Collection[str] = ()
) -> list[tuple[str, list[str]]]:
    """Return the fields that were sent, without the CSRF token and the names `without`.

    A page that sends the fields again has its own token.
    """
    left_out = {"csrfmiddlewaretoken", *without}
    return [(name, values) for name, values in data.lists() if name not in left_out]


def list_own_providers(user: User) -> list[OpenIDProvider]:
    """Return the providers in the settings that the person's account is linked to."""
    if not settings.OIDC_PROVIDERS:
        return []
    links = SocialAccount.objects.filter(user=user)
    own_ids = set(links.values_list("provider", flat=True))
    return [row for row in settings.OIDC_PROVIDERS if row.id in own_ids]
