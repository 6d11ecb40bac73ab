"""The side navigation, with links to the lists and pages that the person can open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _, pgettext


@dataclass(frozen=True)
class Item:
    """A link in the navigation.

    `current` is the value of the attribute aria-current: "page" on the page of the
    link, and "true" on pages below it. Pages below the URL `also` belong to the link as
    well.
    """

    label: str | Promise
    icon: str
    url: str
    current: str = ""
    also: str = ""


@dataclass(frozen=True)
class Section:
    heading: str | Promise
    items: list[Item]


@dataclass(frozen=True)
class ModelList:
    """The label of a link to the list of a model, and the name of its icon."""

    label: str | Promise
    icon: str


# The lists in the two sections of the navigation, as {name of the model: ModelList}.
# The navigation shows them in this order. `list_sections()` adds Home as the first
# link, and Import and Unsent emails as the last links.

RECORDS = {
    "Organization": ModelList(_("Organizations"), "organizations"),
    "User": ModelList(_("People"), "people"),
    "Contact": ModelList(_("Contacts"), "contacts"),
}

OVERSIGHT = {
    "MembershipEvent": ModelList(_("Membership log"), "log"),
    "AuditEvent": ModelList(_("Audit log"), "shield"),
    "AccessReview": ModelList(_("Access reviews"), "review"),
    "Group": ModelList(_("Groups"), "groups"),
}


def list_sections(request: HttpRequest, app_list: Sequence[Any]) -> list[Section]:
    """Return the sections of the navigation. Does not run any queries.

    `app_list` is Django's list of the models that the person can see. Only superusers
    see the links to Import and Unsent emails.
    """
    urls = find_list_urls(app_list)
    home = Item(_("Home"), "home", reverse("admin:index"))
    records = [home, *make_items(RECORDS, urls)]
    oversight = make_items(OVERSIGHT, urls)
    if request.user.is_superuser:
        import_url = reverse("admin:orgadmin_organization_import")
        mail_url = reverse("admin:unsent_mail")
        imports_url = reverse("admin:orgadmin_import_changelist")
        label = pgettext("noun", "Import")
        oversight.append(Item(label, "import", import_url, also=imports_url))
        oversight.append(Item(_("Unsent emails"), "mail", mail_url))
    current = find_current([*records, *oversight], request.path)
    sections = [Section("", mark_current(records, current, request.path))]
    if oversight:
        items = mark_current(oversight, current, request.path)
        sections.append(Section(_("Oversight"), items))
    return sections


def find_list_urls(app_list: Sequence[Any]) -> dict[str, str]:
    """Return {name of a model: URL of its list} for lists that the person can open."""
    urls = {}
    for app in app_list:
        for model in app["models"]:
            if model.get("admin_url"):
                urls[model["object_name"]] = model["admin_url"]
    return urls


def make_items(lists: dict[str, ModelList], urls: dict[str, str]) -> list[Item]:
    return [
        Item(row.label, row.icon, urls[name])
        for name, row in lists.items()
        if name in urls
    ]


def find_current(items: Sequence[Item], path: str) -> str:
    """Return the URL of the item to which a page belongs, or ""."""
    home = reverse("admin:index")
    if path == home:
        return home
    above = []
    for item in items:
        if item.url == home:
            continue
        if path.startswith(item.url) or (item.also and path.startswith(item.also)):
            above.append(item.url)
    return max(above, key=len, default="")


def mark_current(items: Sequence[Item], current: str, path: str) -> list[Item]:
    """Return the items, and set `current` of the item with the URL `current`."""
    marked = []
    for item in items:
        if item.url != current:
            marked.append(item)
            continue
        state = "page" if item.url == path else "true"
        marked.append(Item(item.label, item.icon, item.url, state))
    return marked
