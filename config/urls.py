"""The URLs of the site: the admin, sign-in, health checks, and metrics."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from orgadmin import health, metrics

handler500 = health.server_error

# The pages of optional sign-in methods, which depend on the settings.
second_factor_urls = path(
    "admin/second-factor/", include("orgadmin.accounts.second_factor.urls")
)
openid_connect_urls = path(
    "admin/oidc/<str:provider_id>/", include("orgadmin.accounts.company.urls")
)

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
]
if settings.SECOND_FACTOR != "off":
    urlpatterns += [second_factor_urls]
if settings.OIDC_PROVIDERS:
    urlpatterns += [openid_connect_urls]
urlpatterns += [
    # django-allauth requires URLs with these names. Unlike the admin's own sign-out
    # page, "account_logout" is also open to people who have lost access to the admin.
    path("admin/login/", admin.site.login, name="account_login"),
    path("admin/logout/", admin.site.logout, name="account_logout"),
    path("admin/", include("orgadmin.accounts.urls")),
    path("admin/", admin.site.urls),
    path("healthz", health.healthz),
    path("livez", health.livez),
    path("metrics", metrics.show_metrics),
]
