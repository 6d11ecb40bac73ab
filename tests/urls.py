"""The URLs of the site, with every way to sign in."""

from config.urls import (
    handler500,  # noqa: F401 (Django looks for it here)
    openid_connect_urls,
    second_factor_urls,
    urlpatterns,
)

urlpatterns = [second_factor_urls, openid_connect_urls, *urlpatterns]
