"""The names of OpenID providers on pages and in logs."""

from django.conf import settings


def name_provider(provider_id: str) -> str:
    """Return the name of a provider, or its ID if it is no longer in the settings."""
    names = {provider.id: provider.name for provider in settings.OIDC_PROVIDERS}
    return names.get(provider_id, provider_id)
