"""The pages that add, rename and remove passkeys, and that sign in with them."""

from __future__ import annotations

from functools import wraps

from allauth.account.internal.decorators import login_stage_required
from allauth.account.models import Login
from allauth.mfa.base.views import AuthenticateView
from allauth.mfa.models import Authenticator
from allauth.mfa.stages import AuthenticateStage
from allauth.mfa.webauthn.internal import flows
from allauth.mfa.webauthn.views import AddWebAuthnView
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.mixins import LoginRequiredMixin
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from django.views.generic.edit import FormView

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.accounts.redirects import redirect_to_sign_in
from orgadmin.accounts.second_factor import passkeys
from orgadmin.accounts.second_factor.passkey_forms import (
    AddPasskeyForm,
    PasskeySignInForm,
    RenamePasskeyForm,
)
from orgadmin.accounts.second_factor.views import (
    FactorChangeView,
    is_last_factor,
    list_removed,
)
from orgadmin.accounts.sessions.sessions import (
    end_session_before_sign_in,
    record_second_factor,
)
from orgadmin.people.second_factors import has_app, has_second_factor

Passkey = Authenticator.Type.WEBAUTHN


def only_if_available(view):
    """Respond with status 404 on sites where passkeys cannot be used."""

    @wraps(view)
    def checked_view(request, *args, **kwargs):
        if not passkeys.are_available():
            raise Http404
        return view(request, *args, **kwargs)

    return checked_view


class PasskeyPageMixin(LoginRequiredMixin):
    """For the pages on which people who are signed in manage their passkeys."""

    @method_decorator(only_if_available)
    def dispatch(self, request, *args, **kwargs):
        return super().dispatch(request, *args, **kwargs)


class OwnPasskeyMixin(PasskeyPageMixin):
    """For the pages about a single passkey of the person who is signed in."""

    success_url = reverse_lazy("mfa_index")

    @cached_property
    def passkey(self) -> Authenticator:
        passkeys_of_user = Authenticator.objects.filter(
            user=self.request.user, type=Passkey
        )
        return get_object_or_404(passkeys_of_user, pk=self.kwargs["pk"])

    def get_context_data(self, **kwargs):
        return super().get_context_data(**kwargs, passkey=self.passkey.wrap())


# One's own passkeys


class AddPasskeyView(PasskeyPageMixin, FactorChangeView, AddWebAuthnView):
    form_class = AddPasskeyForm
    event = SecurityEvent.FACTOR_ADDED
    kinds = [Passkey]

    def get_context_data(self, **kwargs):
        # django-allauth would add a challenge to the page. On this site, the page
        # requests a challenge when the person presses the button.
        context = FormView.get_context_data(self, **kwargs)
        return {**context, "has_second_factor": has_second_factor(self.request.user)}

    def update_session(self, request: HttpRequest) -> None:
        # The person has just used the new passkey.
        passkeys_of_user = Authenticator.objects.filter(user=request.user, type=Passkey)
        record_second_factor(request.session, passkeys_of_user.latest("pk"))


class RenamePasskeyView(OwnPasskeyMixin, FormView):
    form_class = RenamePasskeyForm
    template_name = "mfa/webauthn/edit_form.html"

    def get_initial(self):
        return {"name": self.passkey.wrap().name}

    def form_valid(self, form):
        passkeys.rename_passkey(self.passkey, form.cleaned_data["name"])
        messages.success(self.request, _("The passkey was renamed."))
        return super().form_valid(form)


class DeletePasskeyView(FormView):
    """Removes a passkey, like django-allauth's page."""

    form_class = Form
    template_name = "mfa/webauthn/authenticator_confirm_delete.html"

    def form_valid(self, form):
        flows.remove_authenticator(self.request, self.passkey)
        return super().form_valid(form)


class RemovePasskeyView(OwnPasskeyMixin, FactorChangeView, DeletePasskeyView):
    event = SecurityEvent.FACTOR_REMOVED

    def get_context_data(self, **kwargs):
        is_last = is_last_factor(self.request.user, self.passkey)
        return {**super().get_context_data(**kwargs), "is_last_factor": is_last}

    def find_kinds(self) -> list[str]:
        return list_removed(self.request.user, Passkey)


@require_POST
@never_cache
@only_if_available
@login_required
def new_passkey_options_view(request: HttpRequest) -> JsonResponse:
    """Return the options with which the browser creates a passkey."""
    return JsonResponse(passkeys.ask_for_new_passkey(request.session, request.user))


# Signing in


@require_POST
@never_cache
@only_if_available
def passkey_options_view(request: HttpRequest, purpose: str) -> HttpResponse:
    """Return the options with which the browser uses a passkey, for one of PURPOSES."""
    if purpose not in PURPOSES:
        raise Http404
    return PURPOSES[purpose](request)


def ask_anyone(request: HttpRequest) -> JsonResponse:
    return JsonResponse(passkeys.ask_for_passkey(request.session, user=None))


@login_required
def ask_signed_in_person(request: HttpRequest) -> JsonResponse:
    return JsonResponse(passkeys.ask_for_passkey(request.session, request.user))


@login_stage_required(stage=AuthenticateStage.key, redirect_urlname="account_login")
def ask_after_password(request: HttpRequest) -> JsonResponse:
    user = request._login_stage.login.user
    return JsonResponse(passkeys.ask_for_passkey(request.session, user))


# The functions for the sign-in page, for the step after the password, and for people
# who confirm who they are.
PURPOSES = {
    "sign-in": ask_anyone,
    "second-step": ask_after_password,
    "step-up": ask_signed_in_person,
}


@require_POST
@never_cache
@only_if_available
def passkey_sign_in_view(request: HttpRequest) -> HttpResponse:
    """Sign in with only a passkey, which also counts as a second factor."""
    form = PasskeySignInForm(request, request.POST)
    if not form.is_valid():
        # The form has one field, so it has exactly one error.
        [[error]] = form.errors.values()
        return redirect_to_sign_in(request, error)
    passkey = form.cleaned_data["credential"]
    end_session_before_sign_in(request)
    return flows.perform_passwordless_login(request, passkey, Login(user=passkey.user))


class SecondStepView(AuthenticateView):
    """Asks for a second factor after the password: a code or a passkey."""

    def get_context_data(self, **kwargs):
        passkey_form = self.webauthn_form
        # If django-allauth knew this form, it would add a challenge to the page.
        self.webauthn_form = None
        user = self.stage.login.user
        return {
            **super().get_context_data(**kwargs),
            "passkey_form": passkey_form,
            "has_app": has_app(user),
            "has_passkey": passkeys.can_use_passkey(user),
        }
