"""The pages of the membership log: for all organizations, and for a single one."""

from functools import partial

from django.conf import settings
from django.contrib import admin
from django.utils.translation import gettext, gettext_lazy as _

from orgadmin.access.ends import find_start_of_next_day
from orgadmin.admin.base import SuperuserOnlyAdmin
from orgadmin.admin.downloads import CSV, XLSX, respond_with_rows
from orgadmin.admin.lists.changelist import get_page
from orgadmin.admin.lists.filters import FieldChoiceFilter
from orgadmin.admin.members.forms import MembersOnForm
from orgadmin.models import Membership, MembershipEvent, User
from orgadmin.records.event_actors import hide_platform_staff, name_people
from orgadmin.records.exports import list_events, record_export


class EventFilter(FieldChoiceFilter):
    parameter_name = "event"


class RoleFilter(FieldChoiceFilter):
    parameter_name = "role"


@admin.register(MembershipEvent)
class MembershipLogAdmin(SuperuserOnlyAdmin):
    """The membership log of all organizations, for superusers. Nobody can edit it."""

    list_title = _("Membership log")
    list_display = [
        "at",
        "user_name",
        "shown_event",
        "shown_role",
        "organization_name",
        "shown_actor",
        "shown_reason",
    ]
    list_display_links = None
    list_filter = [EventFilter, RoleFilter]
    search_fields = ["user_name", "organization_name", "actor_name"]
    search_help_text = _("Search by person, organization, or who made the change.")

    def leave_out_long_texts(self, rows):
        return rows.with_short_reasons().with_previous_roles()

    @admin.display(
        description=MembershipEvent._meta.get_field("event").verbose_name,
        ordering="event",
    )
    def shown_event(self, event):
        return event.shown_event

    @admin.display(
        description=MembershipEvent._meta.get_field("role").verbose_name,
        ordering="role",
    )
    def shown_role(self, event):
        return event.shown_role

    @admin.display(
        description=MembershipEvent._meta.get_field("actor_name").verbose_name,
        ordering="actor_name",
        empty_value="",
    )
    def shown_actor(self, event):
        return event.shown_actor

    @admin.display(description=MembershipEvent._meta.get_field("reason").verbose_name)
    def shown_reason(self, event):
        # The site stores its own reasons in English.
        return gettext(event.shown_reason)

    def is_permitted(self, request, permission, obj=None):
        return permission == "view" and super().is_permitted(request, permission)


class MembershipLogPage:
    """The page ledger/ below an organization."""

    def ledger_view(self, request, organization):
        """Show who joined and who left, when, and who made the change.

        ?on=<date> shows the members at the end of that day instead. ?csv and ?xlsx
        download the rows as a file.
        """
        events = MembershipEvent.objects.filter(organization_key=organization.pk)
        form = MembersOnForm(request.GET or None)
        on = form.cleaned_data["on"] if form.is_valid() else None
        if on:
            moment = find_start_of_next_day(on)
            members = events.find_joining_events_of_members(moment)
            events = members.order_by("user_name", "pk")
        kinds = [kind for kind in (CSV, XLSX) if kind in request.GET]
        if kinds and not form.errors:
            record_export(
                "membership log",
                actor=request.user,
                organization=organization.pk,
                filters=sorted(request.GET.keys() - {CSV, XLSX}),
            )
            hide = partial(
                hide_platform_staff, organization=organization, user=request.user
            )
            people = list_visible_people(organization, request.user)
            rows = list_events(events, hide, people)
            return respond_with_rows(
                request, kinds[0], "membership-log", rows, page=request.path
            )
        page = get_page(request, events.with_short_reasons().with_previous_roles())
        hide_platform_staff(page, organization, request.user)
        name_people(page, organization, request.user)
        return self.render_page(
            request,
            organization,
            "ledger",
            _("Membership log"),
            page=page,
            form=form,
            on=on,
            site_time_zone=settings.TIME_ZONE,
        )


def list_visible_people(organization, user):
    """Return the people whose current usernames the user can see in the log.

    Superusers can see all current usernames. Other people who manage members can see
    those of current members. For people who left, they see the username in the log.
    """
    if user.is_superuser:
        return User.objects.all()
    members = Membership.objects.users_in(organization.group_ids)
    return User.objects.filter(pk__in=members)
