"""Pages below /admin/ about accounts, such as the pages of links in emails.

The pages on which people sign in and change their account belong to the admin site.
"""

from django.conf import settings
from django.contrib import admin
from django.contrib.auth import views as auth_views
from django.urls import path

from orgadmin.accounts.confirm_email import (
    confirm_email_link_view,
    confirm_email_view,
)
from orgadmin.accounts.forms import ForgottenPasswordForm
from orgadmin.accounts.invitation_link import invitation_view
from orgadmin.accounts.language import language_view
from orgadmin.accounts.lock_out_link import lock_out_link_view
from orgadmin.accounts.new_email import new_email_link_view
from orgadmin.accounts.no_organization import no_organization_view
from orgadmin.accounts.request_access import request_access_view
from orgadmin.accounts.sessions.session_end import stay_signed_in_view
from orgadmin.accounts.tokens import reset_tokens
from orgadmin.accounts.view_as_middleware import stop_viewing
from orgadmin.accounts.views import ResetPasswordView

# The variables that the admin's templates use in the header of a page.
HEADER_CONTEXT = {
    "site_header": admin.site.site_header,
    "site_title": admin.site.site_title,
    "access_contact": settings.ACCESS_CONTACT,
}

urlpatterns = [
    path("stop-viewing/", stop_viewing, name="stop_viewing"),
    path("stay-signed-in/", stay_signed_in_view, name="stay_signed_in"),
    path("invitation/<str:token>/", invitation_view, name="invitation"),
    path(
        "request-access/<str:token>/",
        request_access_view,
        name="request_access",
    ),
    path("language/", language_view, name="language"),
    path("no-organization/", no_organization_view, name="no_organization"),
    path("confirm-email/", confirm_email_view, name="confirm_email"),
    path(
        "confirm-email/<str:token>/",
        confirm_email_link_view,
        name="confirm_email_link",
    ),
    path("new-email/<str:token>/", new_email_link_view, name="new_email_link"),
    path("lock-out/<str:token>/", lock_out_link_view, name="lock_out_link"),
    path(
        "password_reset/",
        auth_views.PasswordResetView.as_view(
            form_class=ForgottenPasswordForm,
            token_generator=reset_tokens,
            extra_context=HEADER_CONTEXT,
        ),
        # The sign-in page shows a link to the URL with this name.
        name="admin_password_reset",
    ),
    path(
        "password_reset/done/",
        auth_views.PasswordResetDoneView.as_view(extra_context=HEADER_CONTEXT),
        name="password_reset_done",
    ),
    path(
        "reset/<uidb64>/<token>/",
        ResetPasswordView.as_view(extra_context=HEADER_CONTEXT),
        name="password_reset_confirm",
    ),
    path(
        "reset/done/",
        auth_views.PasswordResetCompleteView.as_view(extra_context=HEADER_CONTEXT),
        name="password_reset_complete",
    ),
]
