"""All addresses: the admin, and what a load balancer asks."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from orgadmin import health

handler500 = health.server_error
urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", include("orgadmin.accounts")),
    path("admin/", admin.site.urls),
    path("healthz", health.healthz),
    path("livez", health.livez),
]
