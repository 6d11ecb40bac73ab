"""The pages of company sign-in, below /admin/oidc/<provider_id>/."""

from django.urls import path

from orgadmin.accounts.company import callback_view, sign_in_view
from orgadmin.accounts.company_problems import send_invitation_view
from orgadmin.accounts.round_trips import departure_view

urlpatterns = [
    path("login/", sign_in_view, name="openid_connect_login"),
    path("login/callback/", callback_view, name="openid_connect_callback"),
    path(
        "send-invitation/",
        send_invitation_view,
        name="openid_connect_send_invitation",
    ),
    path("departure/<str:key>/", departure_view, name="openid_connect_departure"),
]
