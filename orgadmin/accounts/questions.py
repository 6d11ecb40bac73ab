"""The page that asks people to confirm an action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

# The name of the field that the page's button sends.
CONFIRMED = "confirmed"


@dataclass(frozen=True)
class Question:
    """What the confirmation page shows.

    `text` says what will happen, and whether it can be undone. The page submits
    `fields` to its own URL, so the same view receives them.
    """

    title: str
    text: str
    button: str
    fields: Mapping[str, str]
    cancel_url: str


def is_confirmed(request: HttpRequest) -> bool:
    return CONFIRMED in request.POST


def show_question(request: HttpRequest, question: Question) -> HttpResponse:
    """Return the confirmation page."""
    context = {
        **admin.site.each_context(request),
        "title": question.title,
        "question": question,
        "posted": [(name, [value]) for name, value in question.fields.items()],
    }
    return render(request, "admin/orgadmin/question.html", context)
