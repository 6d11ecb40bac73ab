"""The language switch of the pages."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST
from django.views.i18n import set_language


@require_POST
def language_view(request: HttpRequest) -> HttpResponse:
    """Change the language, and redirect back to the page with the switch.

    For visitors, the language is stored in a cookie. For people who are signed in, it
    is also stored in their account, for all their devices and for emails. Django only
    redirects to pages of this site.
    """
    language = request.POST.get("language", "")
    user = request.user
    if user.is_authenticated and language in dict(settings.LANGUAGES):
        user.changed_by = user
        user.language = language
        user.save(update_fields=["language"])
    return set_language(request)
