"""The OpenID providers in the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.http import Http404

if TYPE_CHECKING:
    from config.providers import OpenIDProvider


def find_provider(provider_id: str) -> OpenIDProvider:
    """Return the provider with this ID, or raise `Http404`."""
    for provider in settings.OIDC_PROVIDERS:
        if provider.id == provider_id:
            return provider
    raise Http404
