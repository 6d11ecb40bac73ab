"""The doctor's check of the sign-in with OpenID providers."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.utils.translation import gettext_noop as _

from orgadmin.models import Organization
from orgadmin.records.doctor.doctor import Issue

UNKNOWN_REFERENCE = _("unknown reference")


def examine_mapped_roles(*, fix: bool = False) -> Iterator[Issue]:
    """Yield the references in the settings that do not belong to any organization.

    The doctor cannot repair them, so `fix` has no effect.
    """
    for provider in settings.OIDC_PROVIDERS:
        mapped = {row.reference for row in provider.roles}
        found = Organization.objects.filter(reference__in=mapped)
        unknown = mapped.difference(found.values_list("reference", flat=True))
        for reference in sorted(unknown):
            text = (
                f"the settings of {provider.id} map groups to the reference"
                f" “{reference}”, which no organization has"
            )
            yield Issue(UNKNOWN_REFERENCE, text, is_repairable=False)
