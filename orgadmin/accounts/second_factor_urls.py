"""The pages of the second factor, below /admin/second-factor/.

django-allauth's own list has more pages, which this site does not use.
"""

from allauth.mfa.base import views as base_views
from django.urls import path

from orgadmin.accounts.second_factor import (
    DownloadCodesView,
    NewRecoveryCodesView,
    RemoveView,
    SetUpView,
    ShowCodesView,
)
from orgadmin.accounts.set_up_link import open_set_up_link_view, set_up_link_view

# django-allauth looks for pages by these names. StepUpMiddleware asks for a recent
# sign-in on all of them, except those that it names.
urlpatterns = [
    path("", base_views.index, name="mfa_index"),
    path("authenticate/", base_views.authenticate, name="mfa_authenticate"),
    path("set-up/", set_up_link_view, name="mfa_set_up_link"),
    path("set-up/<str:token>/", open_set_up_link_view, name="mfa_open_set_up_link"),
    path("totp/activate/", SetUpView.as_view(), name="mfa_activate_totp"),
    path("totp/deactivate/", RemoveView.as_view(), name="mfa_deactivate_totp"),
    path(
        "recovery-codes/",
        ShowCodesView.as_view(),
        name="mfa_view_recovery_codes",
    ),
    path(
        "recovery-codes/generate/",
        NewRecoveryCodesView.as_view(),
        name="mfa_generate_recovery_codes",
    ),
    path(
        "recovery-codes/download/",
        DownloadCodesView.as_view(),
        name="mfa_download_recovery_codes",
    ),
]
