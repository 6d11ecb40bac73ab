"""Shows recent activity with links, limited to what the person can see.

The home page shows the newest entries, and the page all-activity/ shows all entries.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import Prefetch, prefetch_related_objects
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.translation import get_language, gettext as _, ngettext

from orgadmin.access.membership_log import name_author
from orgadmin.access.roles import ROLES
from orgadmin.admin.lists.rows import show_day
from orgadmin.admin.organizations.archived import get_archived_url
from orgadmin.gate.answers import get_gate
from orgadmin.models import Contact, Organization, User
from orgadmin.people.find_namesakes import LABEL_FIELDS, find_named_members
from orgadmin.records.event_actors import name_for_superusers
from orgadmin.records.feed.activity import (
    BEGINNING,
    ENTRIES_PER_PAGE,
    Position,
    read_page,
)
from orgadmin.records.feed.entries import Entry
from orgadmin.records.feed.newest import Newest
from orgadmin.records.feed.scope import Scope
from orgadmin.records.history import (
    describe_author,
    hide_people_of_several,
    remove_details,
)

AUTHORS = User.objects.only(*LABEL_FIELDS)

TIME_HTML = '<time class="when" datetime="{}" title="{}">{}</time>'


@dataclass(frozen=True)
class Link:
    """A name with a link. Without a URL, the name is shown as text."""

    text: str
    url: str = ""

    @property
    def html(self) -> str:
        name = format_html("<bdi>{}</bdi>", self.text)
        if not self.url:
            return name
        return format_html('<a href="{}">{}</a>', self.url, name)


@dataclass(frozen=True)
class Item:
    """An entry, as the page shows it. `links` lead to the objects it is about."""

    at: datetime.datetime
    author: Link
    links: list[Link]
    text: str

    @property
    def subjects(self) -> str:
        return format_html_join(" · ", "{}", [[link.html] for link in self.links])

    @property
    def time(self) -> str:
        """The time of an entry of today, or else the date, as HTML."""
        at = timezone.localtime(self.at)
        if at.date() == timezone.localdate():
            shown = date_format(at, "TIME_FORMAT")
        else:
            shown = show_day(self.at)
        utc_time = self.at.astimezone(datetime.UTC).isoformat()
        title = format_time(at.replace(tzinfo=None), get_language())
        return format_html(TIME_HTML, utc_time, title, shown)


@dataclass(frozen=True)
class ItemPage:
    """A page of items, newest first."""

    items: list[Item]
    older: Position | None  # the beginning of the next page, or None on the last page


@lru_cache(maxsize=1_000)
def format_time(local_time: datetime.datetime, language: str | None) -> str:
    """Return a local time as text, cached because new entries are shown repeatedly.

    `language` is the active language, in which the text is written. It is a parameter
    so that the cache has an entry for each language.
    """
    return date_format(local_time, "DATETIME_FORMAT")


def list_recent_activity(
    request: HttpRequest,
    own: dict[int, Organization] | None = None,
    newest: Newest | None = None,
) -> ItemPage:
    """Return recent activity, limited to what the person can see.

    `own` ({ID: organization}) are all organizations that the person can view. `newest`
    is the result of `find_newest()` for them. Pass both if they are already loaded,
    which saves queries.
    """
    own_pks = None if own is None else list(own)
    page = read_page(Scope(get_gate(request), own_pks), newest=newest)
    items = Presenter(request, page.entries, known=own or {}).present()
    return ItemPage(items, page.older)


def show_activity(request: HttpRequest) -> HttpResponse:
    """Show a page of all activity, limited to what the person can see.

    ?before=<position> shows the page after another one.
    """
    position = Position.parse(request.GET.get("before", ""))
    page = read_page(Scope(get_gate(request)), position, ENTRIES_PER_PAGE)
    items = Presenter(request, page.entries, known={}).present()
    context = {
        **admin.site.each_context(request),
        "title": _("All activity"),
        "activity": ItemPage(items, page.older),
        "is_newest": position == BEGINNING,
    }
    return render(request, "admin/orgadmin/all_activity.html", context)


class Presenter:
    """Turns entries into items, with a few queries for any number of entries.

    `known` are organizations that are already loaded, by ID.
    """

    def __init__(
        self,
        request: HttpRequest,
        entries: Collection[Entry],
        known: dict[int, Organization],
    ) -> None:
        self.request = request
        self.gate = get_gate(request)
        self.sees_all = self.gate.permits_everywhere("view_confidential")
        self.entries = entries
        self.others = self.load_others()
        self.organizations = known | self.load_organizations(known)
        self.gate.learn(self.organizations)
        self.entries = [entry for entry in entries if self.may_view(entry)]
        self.names = self.load_names()
        self.members = self.load_members()
        self.load_authors()

    def load_others(self) -> dict[type, dict[int, Any]]:
        """Return the other objects that entries are about, as {model: {key: object}}.

        Leaves out objects that no longer exist, and models whose pages the person
        cannot open.
        """
        keys_by_model: dict[type, set[int]] = defaultdict(set)
        for entry in self.entries:
            if entry.other is not None:
                model, key = entry.other
                keys_by_model[model].add(key)
        if self.request.user.is_superuser:
            # The authors are also named, with links to them.
            keys_by_model[User] |= self.list_keys()
        loaded = {}
        for model, keys in keys_by_model.items():
            model_admin = admin.site._registry.get(model)
            if model_admin is not None and model_admin.has_view_permission(
                self.request
            ):
                loaded[model] = model._default_manager.in_bulk(keys)
        return loaded

    def load_organizations(self, known: Collection[int]) -> dict[int, Organization]:
        """Return the organizations of the entries that are not in `known`."""
        keys = {entry.organization_key for entry in self.entries}
        contacts = self.others.get(Contact, {}).values()
        keys |= {contact.organization_id for contact in contacts}
        fields = ["name", "archived_at", *(role.attname for role in ROLES)]
        rows = Organization.objects.order_by().only(*fields)
        return rows.in_bulk(keys.difference(known, [None]))

    def may_view(self, entry: Entry) -> bool:
        """Return whether the person can view the organization of an entry.

        Also returns True if the organization no longer exists, or if the entry itself
        says that it was archived, restored or deleted (`tells_archived`). Such entries
        come from the audit log.
        """
        organization = self.find_organization(entry)
        if organization is None or entry.tells_archived:
            return True
        return self.gate.permits("view", organization.pk)

    def list_keys(self) -> set[int]:
        """Return the IDs of the people named in the entries."""
        keys = set()
        for entry in self.entries:
            keys.add(entry.author_key)
            if entry.log_entry is not None:
                keys.add(entry.log_entry.user_id)
            elif entry.other is not None and entry.other[0] is User:
                keys.add(entry.other[1])
        keys.discard(None)
        return keys

    def load_names(self) -> dict[int | None, str]:
        """Return {user ID: name} of the people in the entries who have an account.

        Only superusers can see these names, so for other readers, this returns {}.
        """
        if not self.request.user.is_superuser:
            return {}
        people = self.others.get(User, {})
        return {key: name_for_superusers(person) for key, person in people.items()}

    def load_members(self) -> dict[tuple[int, int], User]:
        """Return members of the organizations whose members the person manages.

        The keys are (organization ID, user ID). The person can see their names, because
        the People pages of these organizations show them. The result also contains the
        person, in each of these organizations. For superusers, who can see all names,
        returns {}.
        """
        if self.request.user.is_superuser:
            return {}
        managed = [
            organization
            for organization in self.organizations.values()
            if self.gate.permits("manage_members", organization.pk)
        ]
        user = self.request.user
        members = find_named_members(self.list_keys() - {user.pk}, managed)
        for organization in managed:
            members[organization.pk, user.pk] = user
        return members

    def load_authors(self) -> None:
        """Set the authors of log entries. Runs one query, unless all are loaded."""
        log_entries = []
        for entry in self.entries:
            if entry.log_entry is not None:
                self.set_author(entry, entry.log_entry)
                log_entries.append(entry.log_entry)
        # Entries that already have an author are left out.
        prefetch_related_objects(log_entries, Prefetch("user", AUTHORS))

    def set_author(self, entry: Entry, log_entry: LogEntry) -> None:
        """Set the author of a log entry if the author is already loaded."""
        key = log_entry.user_id
        organization = self.find_organization(entry)
        people = self.others.get(User, {})
        if organization is not None and (organization.pk, key) in self.members:
            log_entry.user = self.members[organization.pk, key]
        elif key in people:
            log_entry.user = people[key]

    def find_name(self, entry: Entry, key: int | None, stored: str) -> str:
        """Return someone's current name, or the stored username if it is hidden."""
        member = self.members.get((entry.organization_key or 0, key or 0))
        if member is not None:
            return member.label_without_email
        return self.names.get(key, stored)

    def present(self) -> list[Item]:
        self.hide_parts()
        return [self.make_item(entry) for entry in self.entries]

    def hide_parts(self) -> None:
        """Hide the parts of log entries that the history pages would also hide."""
        entries_by_organization = defaultdict(list)
        for entry in self.entries:
            if entry.log_entry is None:
                continue
            organization = self.find_organization(entry)
            if organization is None:
                self.hide_deleted(entry.log_entry)
                continue
            entries_by_organization[organization].append(entry.log_entry)
            sees_all = self.gate.permits("view_confidential", organization.pk)
            if entry.other is not None and not sees_all:
                remove_details([entry.log_entry])
        hide_people_of_several(entries_by_organization, self.gate, self.members)

    def hide_deleted(self, log_entry: LogEntry) -> None:
        """Hide what the person must not see in an entry about a deleted object.

        Superusers see everything. All others see the author only if it is themselves,
        because a deleted organization has no members. They see the details only if they
        can view the confidential fields of all organizations.
        """
        user = self.request.user
        if user.is_superuser:
            return
        if log_entry.content_type_id and not self.sees_all:
            remove_details([log_entry])
        if log_entry.user.pk not in (None, user.pk):
            log_entry.user = User(username=_("Someone"))

    def find_organization(self, entry: Entry) -> Organization | None:
        """Return the organization of an entry, or None if it no longer exists."""
        other = self.find_other(entry)
        if isinstance(other, Contact):
            return self.organizations.get(other.organization_id)
        return self.organizations.get(entry.organization_key)

    def find_other(self, entry: Entry) -> Any:
        """Return the object `entry.other`, or None if it was not loaded."""
        if entry.other is None:
            return None
        model, key = entry.other
        return self.others.get(model, {}).get(key)

    def make_item(self, entry: Entry) -> Item:
        text = entry.text
        if entry.log_entry is not None and not text:
            text = entry.log_entry.get_change_message()
        return Item(entry.at, self.link_author(entry), self.link_subjects(entry), text)

    def link_author(self, entry: Entry) -> Link:
        """Return the author's name, with a link for superusers."""
        key = entry.author_key
        name = self.find_name(entry, key, entry.author_name)
        name = name_author(entry.source, name)
        is_import = getattr(entry.log_entry, "is_import", False)
        if entry.log_entry is not None:
            key = entry.log_entry.user.pk
            name = describe_author(entry.log_entry)
        if key is not None and key == self.request.user.pk and not is_import:
            name = _("You")
        if key in self.names:
            return Link(name, find_url(User(pk=key)))
        return Link(name)

    def link_subjects(self, entry: Entry) -> list[Link]:
        """Return links to the objects that an entry is about, or their number."""
        links = []
        if entry.people > 1:
            links.append(Link(count_people(entry)))
        elif entry.other is not None:
            other = self.find_other(entry)
            name = entry.other_name
            if entry.log_entry is None and entry.other[0] is User:
                name = self.find_name(entry, entry.other[1], name)
            links.append(Link(name, find_url(other) if other else ""))
        organization = self.find_organization(entry)
        if entry.organizations > 1:
            links.append(Link(count_organizations(entry)))
        elif organization is not None:
            links.append(Link(organization.name, find_organization_url(organization)))
        elif entry.name:
            links.append(Link(entry.name))
        return links


def count_people(entry: Entry) -> str:
    number = entry.people
    if entry.has_more:
        text = ngettext("more than %d person", "more than %d people", number)
    else:
        text = ngettext("%d person", "%d people", number)
    return text % number


def count_organizations(entry: Entry) -> str:
    number = entry.organizations
    if entry.has_more:
        text = ngettext(
            "more than %d organization", "more than %d organizations", number
        )
    else:
        text = ngettext("%d organization", "%d organizations", number)
    return text % number


def find_organization_url(organization: Organization) -> str:
    if organization.archived_at is not None:
        return get_archived_url(organization)
    return find_url(organization)


def find_url(obj: Any) -> str:
    """Return the URL of the page that shows an object, or "" if it has no pages."""
    model_admin = admin.site._registry.get(type(obj))
    if model_admin is None:
        return ""
    return model_admin.get_record_url(obj)
