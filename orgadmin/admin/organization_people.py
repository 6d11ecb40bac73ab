"""The pages about an organization's people."""

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _, gettext_noop

from orgadmin.access.membership_log import end_of_day
from orgadmin.access.roles import ROLES, ROLES_BY_KEY
from orgadmin.accounts import throttle
from orgadmin.admin.changelist import get_page
from orgadmin.admin.forms import AddMembersForm, InviteForm, OnForm
from orgadmin.admin.gated import ActingDelete
from orgadmin.gate.answers import get_gate
from orgadmin.gate.explain import find_reasons, summarize_reasons
from orgadmin.models import MembershipEvent, Organization, User
from orgadmin.models.validators import is_primary_key
from orgadmin.people import invitations, membership
from orgadmin.people.changes import RoleChange
from orgadmin.people.mail import send_invitation
from orgadmin.records.csv_files import respond_with_csv
from orgadmin.records.exports import list_events
from orgadmin.records.history import describe_changes, restore_version


class PeoplePages(ActingDelete):
    """Below an organization: its people, the ledger, and who can see it and why."""

    def people_view(self, request, organization):
        """Who is admin and who is reviewer. Superusers choose from all people; others invite, and learn of nobody."""
        rights, anybody = (
            get_gate(request).permissions_on(organization.pk),
            request.user.is_superuser,
        )
        post = request.POST
        adding = AddMembersForm(
            post if "add" in post and anybody else None, rights=rights
        )
        inviting = InviteForm(post if "invite" in post else None, rights=rights)
        if adding.is_valid():
            return self._change(request, organization, **adding.cleaned_data)
        if inviting.is_valid() and self._invite(
            request, organization, **inviting.cleaned_data
        ):
            return HttpResponseRedirect(request.path)
        if is_primary_key(post.get("invitation", "")):
            return self._change_invitation(request, organization)
        role = ROLES_BY_KEY.get(post.get("role"))
        if is_primary_key(post.get("user", "")) and (role or "remove" in post):
            members = User.objects.filter(
                groups__in=organization.group_ids, pk=post["user"]
            ).distinct()
            return self._change(request, organization, members, role)
        members = membership.Membership.objects.filter(
            group__in=organization.group_ids
        ).select_related("user")
        page = get_page(request, members.order_by("user__username", "pk"))
        members = membership.describe_members(organization, page)
        self._hide_staff(
            request,
            organization,
            [member.joined for member in members if member.joined],
        )
        context = {
            "adding": adding if anybody else None,
            "inviting": inviting,
            "page": page,
            "members": members,
        }
        context |= {
            "invitations": organization.invitations.all(),
            "media": self.media + adding.media,
        }
        context["roles"] = [
            role for role in ROLES if membership.may_assign(rights, role)
        ]
        return self.render_page(
            request, organization, "people", _("People: %s") % organization, **context
        )

    def _change(self, request, organization, users, role):
        """Give or take a role; what takes access away is shown first, and done when it is confirmed."""
        users, reason, given = (
            list(users),
            request.POST.get("reason", ""),
            set(role.permissions if role else ()),
        )
        groups = [
            getattr(organization, other.attname)
            for other in ROLES
            if not set(other.permissions) <= given
        ]
        losing = list(
            User.objects.filter(
                pk__in=[user.pk for user in users], groups__in=groups
            ).distinct()
        )
        if losing and "confirmed" not in request.POST:
            orphaned = membership.find_losing_last_admin(
                [RoleChange(user, organization, role) for user in losing]
            )
            context = {
                "users": losing,
                "role": role,
                "orphaned": orphaned,
                "posted": request.POST.lists(),
            }
            return self.render_page(
                request, organization, "confirm", _("Are you sure?"), **context
            )
        try:
            wanted = [RoleChange(user, organization, role) for user in users]
            changed = membership.change_roles(wanted, actor=request.user, reason=reason)
        except membership.LastAdminError:
            text = _(
                "Nothing was changed: nobody would be left to look after “%s”. Make somebody else admin first."
            )
            return self.answer(request, text % organization, messages.ERROR)
        if not changed:
            return self.answer(
                request, _("Nothing was changed: it was so already."), messages.WARNING
            )
        names = ", ".join(f"“{change.user}”" for change in changed)
        text = _("%(names)s is now %(role)s of “%(organization)s”.")
        text = text if role else _("%(names)s was taken out of “%(organization)s”.")
        return self.answer(
            request,
            text
            % {
                "names": names,
                "role": role and role.label,
                "organization": organization,
            },
        )

    def _invite(self, request, organization, email, role):
        """Invite, and send the mail; tell whether that was allowed. What is known of the address is not told."""
        if not throttle.is_allowed("mail", email.casefold()):
            text = _(
                "Many mails went to “%s” within a short time. Wait a quarter of an hour, and try again."
            )
            level = messages.ERROR
        elif send_invitation(
            invitations.invite(organization, email, role, actor=request.user)
        ):
            text, level = _("An invitation was sent to “%s”."), messages.SUCCESS
        else:
            text, level = (
                _(
                    "“%s” is invited, but the mail could not be sent. Send it again later."
                ),
                messages.WARNING,
            )
        self.message_user(request, text % email, level)
        return level != messages.ERROR

    def _change_invitation(self, request, organization):
        invitation = organization.invitations.select_related("organization").get(
            pk=request.POST["invitation"]
        )
        if "revoke" in request.POST:
            invitations.revoke(invitation, actor=request.user)
            return self.answer(
                request, _("The invitation of “%s” was withdrawn.") % invitation.email
            )
        self._invite(
            request, organization, invitation.email, ROLES_BY_KEY[invitation.role]
        )
        return HttpResponseRedirect(request.path)

    def _hide_staff(self, request, organization, events):
        """Take from events the names of those whom the organization's admins do not know: who was never a member."""
        if not request.user.is_superuser:
            actors = {event.actor_key for event in events}
            known = MembershipEvent.objects.filter(
                organization_key=organization.pk, user_key__in=actors
            )
            known = set(known.values_list("user_key", flat=True))
            for event in events:
                if event.actor_key and event.actor_key not in known:
                    event.actor_name = _("platform staff")

    def ledger_view(self, request, organization):
        """Who joined and left, when, by whom; with `on`, who was a member at the end of that day. A page, or CSV."""
        events, form = (
            MembershipEvent.objects.filter(organization_key=organization.pk),
            OnForm(request.GET or None),
        )
        if on := form.is_valid() and form.cleaned_data["on"]:
            events = events.members_on(end_of_day(on)).order_by("user_name", "pk")
        page = list(events) if "csv" in request.GET else get_page(request, events)
        self._hide_staff(request, organization, page)
        if "csv" in request.GET:
            return respond_with_csv("ledger", list_events(page))
        title = _("Ledger: %s") % organization
        return self.render_page(
            request, organization, "ledger", title, page=page, form=form, on=on
        )

    def access_view(self, request, organization):
        """Who can see the organization, and by which paths; for others than superusers the members only."""
        everybody = request.user.is_superuser
        members = User.objects.filter(groups__in=organization.group_ids).distinct()
        users = (
            Organization.objects.find_viewers(organization.pk) if everybody else members
        )
        page = get_page(request, users.order_by("username"))
        reasons = find_reasons(page, [organization], members_only=not everybody)
        for user in page:
            user.reasons = summarize_reasons(reasons[user.pk, organization.pk])
        title = _("Who can see “%s”?") % organization
        return self.render_page(
            request, organization, "access", title, page=page, everybody=everybody
        )

    def restore_view(self, request, organization):
        """Put the organization back to the state of one of the records of its history."""
        record = organization.history.get(
            pk=request.GET.get("to", "")
            if is_primary_key(request.GET.get("to", ""))
            else None
        )
        if request.method != "POST":
            lines = list(
                describe_changes(
                    organization,
                    record,
                    get_gate(request).permissions_on(organization.pk),
                )
            )
            title = _("Put “%s” back?") % organization
            return self.render_page(
                request, organization, "restore", title, lines=lines, record=record
            )
        page = reverse("admin:orgadmin_organization_history", args=[organization.pk])
        try:
            organization = restore_version(organization, record, actor=request.user)
        except ValidationError as error:
            return self.answer(
                request,
                _("Nothing was put back: %s") % " ".join(error.messages),
                messages.ERROR,
                page,
            )
        when = date_format(timezone.localtime(record.history_date), "DATETIME_FORMAT")
        self.log_change(
            request, organization, gettext_noop("Put back to an earlier state.")
        )
        text = _("“%(organization)s” is now as it was then: %(when)s") % {
            "organization": organization,
            "when": when,
        }
        return self.answer(request, text, to=page)
