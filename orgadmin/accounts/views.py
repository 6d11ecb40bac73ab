"""Signing in, and accepting an invitation."""

import re

from allauth.account.utils import perform_login
from django.contrib import admin, messages
from django.contrib.auth import logout
from django.contrib.auth.views import LoginView
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from orgadmin.accounts.forms import AcceptForm, SignInForm
from orgadmin.models import User
from orgadmin.people.invitations import accept, find_invitation


class SignInView(LoginView):
    form_class = SignInForm
    template_name = "admin/login.html"

    def form_valid(self, form):
        logout(self.request)  # who signs in again is asked for everything
        return perform_login(
            self.request, form.get_user(), redirect_url=self.get_success_url()
        )


@never_cache
def invitation_view(request, token):
    """Accept an invitation. Who has no password yet chooses one, and is signed in; others sign in as always."""
    invitation = find_invitation(token)
    user = invitation and (
        User.objects.find_by_email(invitation.email) or _make_user(invitation.email)
    )
    new = user and not user.has_usable_password()
    form = AcceptForm(user, request.POST or None, initial=vars(user)) if new else None
    if (
        invitation
        and user.is_active
        and request.method == "POST"
        and (form is None or form.is_valid())
    ):
        if form:
            form.save(commit=False)
        if accept(invitation, user, save=form is not None):
            text = _(
                "“%(person)s” now has access to “%(organization)s”."
            )  # who is signed in may be somebody else
            messages.success(
                request,
                text % {"person": user, "organization": invitation.organization},
            )
            page = reverse(
                "admin:orgadmin_organization_change", args=[invitation.organization_id]
            )
            return (
                perform_login(request, user, redirect_url=page)
                if form
                else redirect(page)
            )
        invitation = None
    invitation = invitation if user and user.is_active else None
    context = {
        **admin.site.each_context(request),
        "invitation": invitation,
        "person": user,
        "form": form,
    }
    return render(request, "registration/invitation.html", context)


def _make_user(email):
    """Return a new person, whose user name is the e-mail address as far as user names allow."""
    name = re.sub(r"[^\w.@+-]", "-", email)[:140]
    taken = set(
        User.objects.filter(username__startswith=name).values_list(
            "username", flat=True
        )
    )
    username = next(
        name
        for name in (name, *(f"{name}-{number}" for number in range(2, 1_000)))
        if name not in taken
    )
    return User(username=username, email=email, password="!")
