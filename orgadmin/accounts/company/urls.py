"""The pages of company sign-in, below /admin/oidc/<provider_id>/."""

from django.urls import path

from orgadmin.accounts.company.back_channel import back_channel_view
from orgadmin.accounts.company.failure_messages import send_invitation_view
from orgadmin.accounts.company.sign_out import sign_out_view, signed_out_view
from orgadmin.accounts.company.views import callback_view, sign_in_view
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
    path("sign-out/", sign_out_view, name="openid_connect_sign_out"),
    path("signed-out/", signed_out_view, name="openid_connect_signed_out"),
    path(
        "back-channel-logout/",
        back_channel_view,
        name="openid_connect_back_channel_logout",
    ),
]
