"""All addresses: the admin, ways to sign in that the settings switch on, and what a load balancer asks."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from orgadmin import health

handler500 = health.server_error
SECOND_FACTOR = path("admin/second-factor/", include("allauth.mfa.urls"))
OIDC = path("admin/", include("allauth.socialaccount.providers.openid_connect.urls"))
urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    *([SECOND_FACTOR] if settings.SECOND_FACTOR != "off" else []),
    *([OIDC] if settings.OIDC_SERVER else []),
    path(
        "admin/login/", admin.site.login, name="account_login"
    ),  # as allauth calls them
    path(
        "admin/logout/", admin.site.logout, name="account_logout"
    ),  # also for who may not enter any more
    path("admin/", include("orgadmin.accounts.urls")),
    path("admin/", admin.site.urls),
    path("healthz", health.healthz),
    path("livez", health.livez),
]
