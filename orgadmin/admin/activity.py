"""Shows people the events of the audit log that are about their own account.

People see the name and the network of an event only if they acted themselves. Others
who were signed in are called platform staff. Superusers see the events about each
person, with all names.
"""

import datetime
from dataclasses import dataclass

from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.admin.lists.changelist import LimitedPaginator, get_page
from orgadmin.models import AuditEvent


@dataclass(frozen=True)
class Activity:
    """An event, limited to what the reader can see."""

    at: datetime.datetime
    text: str | Promise
    by: str
    network: str
    # Why a superuser viewed the site as the person. Empty for other events.
    reason: str = ""


class ActivityPage:
    """The page activity/ below a person, for superusers."""

    def activity_view(self, request, user):
        page = get_activity_page(request, user)
        title = _("Activity")
        return self.render_page(request, user, "activity", title, page=page)


@login_required
def activity_view(request):
    """Show people what happened to their own account, even if they have no access."""
    context = {
        **admin.site.each_context(request),
        "title": _("Security activity"),
        "page": get_activity_page(request, request.user),
    }
    return render(request, "admin/orgadmin/activity.html", context)


def get_activity_page(request, user):
    """Return a page of events about a user's account, as `Activity`."""
    page = get_page(request, AuditEvent.objects.about(user), LimitedPaginator)
    page.object_list = [
        describe_activity(event, request.user) for event in page.object_list
    ]
    return page


def describe_activity(event, reader):
    return Activity(
        at=event.at,
        text=event.event_label,
        by=name_actor(event, reader),
        network=event.network if may_see_network(event, reader) else "",
        reason=find_reason(event),
    )


def find_reason(event):
    """Return why a superuser viewed the site as the person, or "" for other events."""
    if event.event != SecurityEvent.VIEWING_STARTED:
        return ""
    return event.personal.get("reason", "")


def name_actor(event, reader):
    """Return the name of the person who acted, limited to what the reader can see.

    For readers who are not superusers, returns "" if the person who acted was not
    signed in, and "Platform staff" for everyone else, including commands.
    """
    if event.actor_key == reader.pk:
        return _("You")
    if reader.is_superuser:
        return event.actor_name
    if event.is_actor_unknown:
        return ""
    return _("Platform staff")


def may_see_network(event, reader):
    """Return whether the reader can see from which network someone acted.

    Readers who are not superusers see it for what they did themselves, and for people
    who were not signed in, for example after a wrong password.
    """
    if reader.is_superuser or event.actor_key == reader.pk:
        return True
    return event.is_actor_unknown
