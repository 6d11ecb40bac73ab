"""The page that asks before something is done that cannot be undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

# The button of the page sends this.
CONFIRMED = "confirmed"


@dataclass(frozen=True)
class Question:
    """What the page asks.

    `text` says what will happen, and what cannot be undone. The button sends `fields`
    to the page that asks.
    """

    title: str
    text: str
    button: str
    fields: Mapping[str, str]
    cancel_url: str


def is_confirmed(request: HttpRequest) -> bool:
    return CONFIRMED in request.POST


def ask(request: HttpRequest, question: Question) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "title": question.title,
        "question": question,
        "posted": [(name, [value]) for name, value in question.fields.items()],
    }
    return render(request, "admin/orgadmin/question.html", context)
