"""The language switch, on every page, for people who are signed in and for visitors."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST
from django.views.i18n import set_language


@require_POST
def language_view(request: HttpRequest) -> HttpResponse:
    """Show the page with the switch in another language.

    Visitors get a cookie. People who are signed in get the language as on their account
    page: on all their devices, and in emails. Django redirects only to pages of this
    site.
    """
    language = request.POST.get("language", "")
    user = request.user
    if user.is_authenticated and language in dict(settings.LANGUAGES):
        user.changed_by = user
        user.language = language
        user.save(update_fields=["language"])
    return set_language(request)
