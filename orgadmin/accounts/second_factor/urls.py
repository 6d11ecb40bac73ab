"""The pages of the second factor, below /admin/second-factor/.

This replaces django-allauth's own list, which has pages that this site does not use.
"""

from django.urls import path

from orgadmin.accounts.second_factor.passkey_views import (
    AddPasskeyView,
    RemovePasskeyView,
    RenamePasskeyView,
    SecondStepView,
    new_passkey_options_view,
    passkey_options_view,
    passkey_sign_in_view,
)
from orgadmin.accounts.second_factor.views import (
    DownloadCodesView,
    NewRecoveryCodesView,
    OwnFactorsView,
    RemoveView,
    SetUpView,
    ShowCodesView,
)
from orgadmin.accounts.set_up_link import open_set_up_link_view, set_up_link_view

# django-allauth requires these names. StepUpMiddleware requires a recent sign-in on all
# pages, except those that it names.
urlpatterns = [
    path("", OwnFactorsView.as_view(), name="mfa_index"),
    path("authenticate/", SecondStepView.as_view(), name="mfa_authenticate"),
    path("set-up/", set_up_link_view, name="mfa_set_up_link"),
    path("set-up/<str:token>/", open_set_up_link_view, name="mfa_open_set_up_link"),
    path("totp/activate/", SetUpView.as_view(), name="mfa_activate_totp"),
    path("totp/deactivate/", RemoveView.as_view(), name="mfa_deactivate_totp"),
    path("passkeys/add/", AddPasskeyView.as_view(), name="mfa_add_webauthn"),
    path(
        "passkeys/add/options/",
        new_passkey_options_view,
        name="mfa_add_webauthn_options",
    ),
    path(
        "passkeys/<int:pk>/rename/",
        RenamePasskeyView.as_view(),
        name="mfa_edit_webauthn",
    ),
    path(
        "passkeys/<int:pk>/remove/",
        RemovePasskeyView.as_view(),
        name="mfa_remove_webauthn",
    ),
    path(
        "passkeys/options/<str:purpose>/",
        passkey_options_view,
        name="mfa_passkey_options",
    ),
    path("passkeys/sign-in/", passkey_sign_in_view, name="mfa_login_webauthn"),
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
