"""The URLs of the site, with a second admin site that shares the templates."""

from django.contrib.admin import AdminSite
from django.contrib.auth.models import Group
from django.urls import path

from tests.urls import handler500, urlpatterns  # noqa: F401 (Django uses handler500)

second_site = AdminSite(name="second")
second_site.register(Group)

urlpatterns = [path("second/", second_site.urls), *urlpatterns]
