"""The addresses of the site with every way to sign in."""

from config.urls import OIDC, SECOND_FACTOR, handler500, urlpatterns  # noqa: F401

urlpatterns = [SECOND_FACTOR, OIDC, *urlpatterns]
