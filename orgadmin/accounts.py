"""Pages beside those of the admin: signing in with the company's server, the second factor, accepting an invitation,
and a forgotten password."""

import re
from functools import partial, wraps

from allauth.account.utils import perform_login
from allauth.mfa.base import views as mfa_views
from allauth.mfa.recovery_codes import views as codes_views
from allauth.mfa.totp import views as totp_views
from allauth.socialaccount.providers.openid_connect import views as oidc_views
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import views
from django.http import Http404
from django.shortcuts import redirect, render
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from .forms import AcceptForm, ForgottenForm
from .membership import accept, read_invitation
from .models import User
from .signin import oidc_login


@never_cache
def invitation_view(request, token):
    """Accept an invitation. Who has no password yet chooses one, and is signed in; others sign in as always."""
    invitation = read_invitation(token)
    user = invitation and (User.objects.with_email(invitation.email) or _make_user(invitation.email))
    new = user and not user.has_usable_password()
    names = {"first_name": user.first_name, "last_name": user.last_name} if new else {}
    form = AcceptForm(user, request.POST or None, initial=names) if new else None
    if invitation and user.is_active and request.method == "POST" and (form is None or form.is_valid()):
        if form:
            form.save(commit=False)
        if accept(invitation, user, save=form is not None):
            text = _("“%(person)s” now has access to “%(organization)s”.")  # who is signed in may be somebody else
            messages.success(request, text % {"person": user, "organization": invitation.organization})
            page = reverse("admin:orgadmin_organization_change", args=[invitation.organization_id])
            return perform_login(request, user, redirect_url=page) if form else redirect(page)
        invitation = None
    invitation = invitation if user and user.is_active else None
    context = {**admin.site.each_context(request), "invitation": invitation, "person": user, "form": form}
    return render(request, "registration/invitation.html", context)


def _make_user(email):
    """Return a new person, whose user name is the e-mail address as far as user names allow."""
    name = re.sub(r"[^\w.@+-]", "-", email)[:140]
    taken = set(User.objects.filter(username__startswith=name).values_list("username", flat=True))
    username = next(name for name in (name, *(f"{name}-{number}" for number in range(2, 1_000))) if name not in taken)
    return User(username=username, email=email, password="!")


def page_of(view, setting, off):
    """Return a page of a library as one of ours, which is not there while `setting` has the value `off`."""

    @wraps(view)
    def inner(request, **kwargs):
        if getattr(settings, setting) == off:
            raise Http404
        response = view(request, **kwargs)
        if isinstance(response, TemplateResponse):
            response.context_data |= admin.site.each_context(request)
        return response

    return inner


second_factor = partial(page_of, setting="SECOND_FACTOR", off="off")
oidc = partial(page_of, setting="OIDC_SERVER", off="")
FACTOR_PAGES = {
    "": ("mfa_index", mfa_views.index),
    "app/": ("mfa_activate_totp", totp_views.activate_totp),
    "app/remove/": ("mfa_deactivate_totp", totp_views.deactivate_totp),
    "codes/": ("mfa_view_recovery_codes", codes_views.view_recovery_codes),
    "codes/new/": ("mfa_generate_recovery_codes", codes_views.generate_recovery_codes),
    "codes/download/": ("mfa_download_recovery_codes", codes_views.download_recovery_codes),
}
START = "admin_password_reset"  # with this name, the sign-in page links it
look = {"extra_context": {"site_header": admin.site.site_header, "site_title": admin.site.site_title}}
urlpatterns = [
    path("login/", admin.site.login, name="account_login"),
    path("second-factor/sign-in/", second_factor(mfa_views.authenticate), name="mfa_authenticate"),
    *(
        path(f"second-factor/{page}", admin.site.admin_view(second_factor(view)), name=name)
        for page, (name, view) in FACTOR_PAGES.items()
    ),
    path("oidc/", require_POST(oidc(oidc_login)), {"provider_id": "oidc"}, name="openid_connect_login"),
    path("oidc/callback/", oidc(oidc_views.callback), {"provider_id": "oidc"}, name="openid_connect_callback"),
    path("invitation/<str:token>/", invitation_view, name="invitation"),
    path("password_reset/", views.PasswordResetView.as_view(form_class=ForgottenForm, **look), name=START),
    path("password_reset/done/", views.PasswordResetDoneView.as_view(**look), name="password_reset_done"),
    path("reset/<uidb64>/<token>/", views.PasswordResetConfirmView.as_view(**look), name="password_reset_confirm"),
    path("reset/done/", views.PasswordResetCompleteView.as_view(**look), name="password_reset_complete"),
]
