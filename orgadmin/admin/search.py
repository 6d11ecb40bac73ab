"""The page with the results of a search on the whole site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.contrib import admin
from django.contrib.admin.options import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from orgadmin.admin.base import clean_search
from orgadmin.admin.members.people_list_log import record_people_viewed
from orgadmin.gate.answers import get_gate
from orgadmin.models import Contact, Organization, User
from orgadmin.records.search import (
    SHORTEST_PART,
    Hit,
    SearchText,
    find_contacts,
    find_organizations,
    find_people,
)


@dataclass(frozen=True)
class Result:
    """An object that was found, and the URL of its page."""

    hit: Hit
    url: str


@dataclass(frozen=True)
class ResultsOfModel:
    model_admin: ModelAdmin
    results: list[Result]


# {model: function that searches it}, in the order in which the page shows the results
SEARCHES: dict[type, Callable] = {
    Organization: find_organizations,
    Contact: find_contacts,
    User: find_people,
}


def search_view(request: HttpRequest) -> HttpResponse:
    """Show what matches the parameter ?q= in all models that the person can view."""
    text = SearchText.parse(clean_search(request.GET.get("q", "")))
    groups = search(request, text) if text.words else []
    title = _("Search")
    if text.typed:
        title = _("Search results for “%s”") % text.typed
    context = {
        **admin.site.each_context(request),
        "title": title,
        "text": text,
        "site_search": text.typed,
        "groups": groups,
        "total": sum(len(group.results) for group in groups),
        "shortest_part": SHORTEST_PART,
        "lists": list_searchable(request),
    }
    return render(request, "admin/orgadmin/search.html", context)


def list_searchable(request: HttpRequest) -> list[ModelAdmin]:
    """Return the admin classes of the models that the person can search."""
    registry = admin.site._registry
    return [
        registry[model]
        for model in SEARCHES
        if registry[model].has_view_permission(request)
    ]


def search(request: HttpRequest, text: SearchText) -> list[ResultsOfModel]:
    """Return the results for each model. Models without results are left out.

    If people were found, this is recorded in the audit log.
    """
    sees_everything = get_gate(request).permits_everywhere("view")
    groups = []
    for model_admin in list_searchable(request):
        find = SEARCHES[model_admin.model]
        hits = find(model_admin.get_queryset(request), text, everywhere=sees_everything)
        if not hits:
            continue
        if model_admin.model is User:
            record_people_viewed(request)
        results = [Result(hit, model_admin.get_record_url(hit.row)) for hit in hits]
        groups.append(ResultsOfModel(model_admin, results))
    return groups
