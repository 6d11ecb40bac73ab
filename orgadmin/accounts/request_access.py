"""The page on which people ask an organization for a role.

The organization's admins share the link to this page. The link contains a secret. About
the organization, the page reveals only the name.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _, gettext_lazy
from django.views.decorators.cache import never_cache

from orgadmin.access.roles import ROLES, ROLES_BY_KEY, choose_default_role
from orgadmin.accounts.sessions.kept_forms import (
    choose_key,
    get_returned_form,
    tell_not_saved,
)
from orgadmin.accounts.widgets import RoleSelect
from orgadmin.models import AccessRequest, Organization
from orgadmin.people.access_requests import (
    AlreadyAsked,
    AlreadyMember,
    LinkGone,
    TooManyRequests,
    ask,
    find_organization,
    find_request,
)
from orgadmin.people.membership import find_role


class AccessRequestForm(forms.Form):
    """Asks for a role and the reason."""

    role = forms.TypedChoiceField(
        label=gettext_lazy("Role"),
        coerce=ROLES_BY_KEY.get,
        choices=[(role.key, role.label) for role in ROLES],
        initial=choose_default_role,
        widget=RoleSelect,
        error_messages={"required": gettext_lazy("Choose a role.")},
    )
    reason = AccessRequest._meta.get_field("reason").formfield(
        label=gettext_lazy("Why do you need access?"),
        required=True,
        widget=forms.TextInput({"class": "vTextField"}),
        error_messages={"required": gettext_lazy("Enter a reason.")},
    )


@never_cache
@login_required
def request_access_view(request: HttpRequest, token: str) -> HttpResponse:
    """Show the form to ask for a role, or send it.

    If the person already has a role or an open request, shows that instead. The
    response is the same for links that never existed, links that were switched off or
    replaced, and links of archived organizations.
    """
    try:
        organization = find_organization(token)
        if request.method == "POST":
            return ask_for_role(request, organization, token)
        return show_state(request, organization)
    except LinkGone:
        context = admin.site.each_context(request)
        return render(
            request, "registration/request_access_dead.html", context, status=404
        )


def ask_for_role(
    request: HttpRequest, organization: Organization, token: str
) -> HttpResponse:
    """Send the request to the admins, and redirect to the same page.

    If there are errors or too many requests, shows the form again. Raises `LinkGone`.
    """
    form = AccessRequestForm(request.POST)
    if not form.is_valid():
        return show_form(request, organization, form)
    role = form.cleaned_data["role"]
    try:
        ask(token, request.user, role, form.cleaned_data["reason"])
    except TooManyRequests as error:
        until = date_format(timezone.localtime(error.until), "DATETIME_FORMAT")
        text = _(
            "Your request was not sent, because there were too many in a day. You can"
            " ask again from %s."
        )
        messages.error(request, text % until)
        return show_form(request, organization, form)
    except (AlreadyAsked, AlreadyMember):
        # The person clicked twice, or the admins have decided in the meantime. The page
        # shows the current state.
        return redirect(request.path)
    messages.success(request, _("Your request was sent to the admins."))
    return redirect(request.path)


def show_state(request: HttpRequest, organization: Organization) -> HttpResponse:
    """Show the person's role, their open request, or the form."""
    role = find_role(organization, request.user)
    if role is not None:
        return show_page(request, organization, role=role)
    asked = find_request(organization, request.user)
    if asked is not None and asked.is_open:
        return show_page(request, organization, asked=asked)
    returned = get_returned_form(request)
    if returned is not None:
        tell_not_saved(request)
    return show_form(request, organization, AccessRequestForm(returned), asked)


def show_form(
    request: HttpRequest,
    organization: Organization,
    form: AccessRequestForm,
    previous: AccessRequest | None = None,
) -> HttpResponse:
    """Show the form, and the answer to the request `previous` if it was declined."""
    return show_page(
        request,
        organization,
        form=form,
        form_key=choose_key(request),
        previous=previous,
    )


def show_page(
    request: HttpRequest, organization: Organization, **context: Any
) -> HttpResponse:
    context |= {
        **admin.site.each_context(request),
        "title": _("Ask for access to “%s”") % organization,
        "organization": organization,
    }
    return render(request, "registration/request_access.html", context)
