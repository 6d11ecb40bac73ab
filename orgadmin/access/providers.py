"""The OpenID providers in the settings, as pages and logs name them."""

from django.conf import settings


def name_provider(provider_id: str) -> str:
    """Return the name of a provider.

    A provider that is no longer in the settings has only its ID.
    """
    names = {provider.id: provider.name for provider in settings.OIDC_PROVIDERS}
    return names.get(provider_id, provider_id)
