"""Pages for people who are not signed in."""

from django.contrib import admin
from django.contrib.auth import views
from django.urls import path

from orgadmin.accounts.forms import ForgottenForm
from orgadmin.accounts.views import invitation_view

START = "admin_password_reset"  # with this name, the sign-in page links it


look = {
    "extra_context": {
        "site_header": admin.site.site_header,
        "site_title": admin.site.site_title,
    }
}


urlpatterns = [
    path("invitation/<str:token>/", invitation_view, name="invitation"),
    path(
        "password_reset/",
        views.PasswordResetView.as_view(form_class=ForgottenForm, **look),
        name=START,
    ),
    path(
        "password_reset/done/",
        views.PasswordResetDoneView.as_view(**look),
        name="password_reset_done",
    ),
    path(
        "reset/<uidb64>/<token>/",
        views.PasswordResetConfirmView.as_view(**look),
        name="password_reset_confirm",
    ),
    path(
        "reset/done/",
        views.PasswordResetCompleteView.as_view(**look),
        name="password_reset_complete",
    ),
]
