"""The page of an organization's people: members, their roles, and invitations."""

from dataclasses import dataclass, replace

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponseRedirect
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _, ngettext

from orgadmin.access.roles import ROLES, ROLES_BY_KEY, Role
from orgadmin.accounts import throttle
from orgadmin.accounts.kept_forms import (
    choose_key,
    get_returned_form,
    tell_not_saved,
)
from orgadmin.accounts.step_up import list_fields
from orgadmin.admin.changelist import get_page
from orgadmin.admin.departures import CONFIRMED, read_confirmed
from orgadmin.admin.membership_log import hide_platform_staff
from orgadmin.admin.once import note_sent
from orgadmin.admin.people_forms import AddMembersForm, InviteForm, ReasonForm
from orgadmin.admin.quotes import list_quoted
from orgadmin.gate.answers import get_gate
from orgadmin.models import Organization, User
from orgadmin.models.guards import LastAdminError
from orgadmin.models.validators import is_primary_key
from orgadmin.people import invitations, membership, outbox
from orgadmin.people.changes import RoleChange
from orgadmin.people.mail import send_invitation

# The field with the people who are added.
ADDED_USERS = f"{AddMembersForm.prefix}-users"

# The fields of the page that name a role.
ROLE_FIELDS = ("role", f"{AddMembersForm.prefix}-role", f"{InviteForm.prefix}-role")

# How many members, and how many invitations, the page shows. Each has buttons.
PEOPLE_PER_PAGE = 50


@dataclass(frozen=True)
class Assignment:
    """The role to give to some people in an organization. None removes them."""

    organization: Organization
    users: list[User]
    role: Role | None

    def list_changes(self) -> list[RoleChange]:
        return [RoleChange(user, self.organization, self.role) for user in self.users]

    def find_users_losing_access(self) -> list[User]:
        """Return the people whose current role has permissions the new one lacks."""
        permissions = set(self.role.permissions) if self.role is not None else set()
        group_ids = [
            getattr(self.organization, role.attname)
            for role in ROLES
            if not set(role.permissions) <= permissions
        ]
        user_ids = [user.pk for user in self.users]
        users = User.objects.filter(pk__in=user_ids, groups__in=group_ids)
        return list(users.distinct())


class TooManyEmails(Exception):
    """Too many emails were sent to an address in a short time."""


class PeoplePage:
    """The page people/ below an organization."""

    def needs_recent_sign_in(self, request, name):
        """Return whether a request needs a recent sign-in.

        On the People page, that is to give a role to several people at once, and to
        give even one person a role that manages people. Removing people never needs it.
        """
        if name == "people":
            adds_several = len(request.POST.getlist(ADDED_USERS)) > 1
            if adds_several or gives_managing_role(request.POST):
                return True
        return super().needs_recent_sign_in(request, name)

    def people_view(self, request, organization):
        """Show an organization's people, or handle a button of that page.

        Only superusers can add people who have an account. Admins invite people by
        email, so that they do not learn who has an account.
        """
        returned = get_returned_form(request)
        if returned is not None:
            return self._show_returned(request, organization, returned)
        post = request.POST
        add_form, invite_form = self._make_forms(request, organization, post)
        if add_form.is_valid():
            return self._add_people(request, organization, add_form)
        already = None
        if invite_form.is_valid():
            invited = invite_form.cleaned_data
            already = membership.find_member(organization, invited["email"])
            if already is None and self._invite(request, organization, **invited):
                return HttpResponseRedirect(request.path)
        if is_primary_key(post.get("invitation", "")):
            return self._change_invitation(request, organization)
        if is_primary_key(post.get("user", "")):
            role = ROLES_BY_KEY.get(post.get("role"))
            if role is not None:
                return self._change_member(request, organization, role)
            if "remove" in post:
                return self._change_member(request, organization, None)
        return self._show_people(request, organization, add_form, invite_form, already)

    def _make_forms(self, request, organization, data):
        """Return the form that adds people, and the form that invites someone.

        Each gets the data only if its own button was pressed. A form without data is
        not valid.
        """
        permissions = get_gate(request).permissions_on(organization.pk)
        is_adding = request.user.is_superuser and "add" in data
        add_form = AddMembersForm(data if is_adding else None, permissions=permissions)
        is_inviting = "invite" in data
        invite_form = InviteForm(data if is_inviting else None, permissions=permissions)
        return add_form, invite_form

    def _show_returned(self, request, organization, data):
        """Show a form as it was before the person signed in again. Saves nothing."""
        add_form, invite_form = self._make_forms(request, organization, data)
        if add_form.is_bound or invite_form.is_bound:
            tell_not_saved(request)
        return self._show_people(request, organization, add_form, invite_form, None)

    def _show_people(self, request, organization, add_form, invite_form, already):
        """Show the members, the invitations, and the forms.

        `already` is the member whom someone wanted to invite, or None.
        """
        memberships = (
            membership.Membership.objects.filter(group__in=organization.group_ids)
            .select_related("user")
            .order_by("user__username", "pk")
        )
        page = get_page(request, memberships, size=PEOPLE_PER_PAGE)
        members = membership.describe_members(organization, page)
        joined = [member.joined for member in members if member.joined is not None]
        hide_platform_staff(joined, organization, request.user)
        permissions = get_gate(request).permissions_on(organization.pk)
        return self.render_page(
            request,
            organization,
            "people",
            _("People: %s") % organization,
            page=page,
            members=members,
            last_admin=self._find_last_admin(request, organization),
            roles=[role for role in ROLES if membership.may_assign(permissions, role)],
            invitations=get_page(
                request,
                organization.invitations.all(),
                parameter="invitations",
                size=PEOPLE_PER_PAGE,
            ),
            adding=add_form if request.user.is_superuser else None,
            inviting=invite_form,
            form_key=choose_key(request),
            already=already,
            offered=invite_form.cleaned_data["role"] if already else None,
            media=self.media + add_form.media,
        )

    def _find_last_admin(self, request, organization):
        """Return the ID of the only active admin if the person cannot remove them."""
        if request.user.is_superuser:
            return None
        return membership.find_last_admin(organization)

    def _add_people(self, request, organization, form):
        users = list(form.cleaned_data["users"])
        role = form.cleaned_data["role"]
        return self._assign(request, Assignment(organization, users, role))

    def _change_member(self, request, organization, role):
        """Change the role of the member who was sent as `user`; None removes them.

        The response is the same for people who are not members and for people who do
        not exist.
        """
        members = User.objects.filter(
            groups__in=organization.group_ids, pk=request.POST["user"]
        ).distinct()
        return self._assign(request, Assignment(organization, list(members), role))

    def _assign(self, request, assignment):
        """Carry out an assignment. Ask first if anyone would lose access.

        Raises `LastAdminError` without asking if the person cannot confirm the change.
        """
        if not request.user.is_superuser:
            changes = assignment.list_changes()
            orphaned = membership.find_organizations_losing_last_admin(changes)
            if orphaned:
                raise LastAdminError(orphaned)
        users_losing_access = assignment.find_users_losing_access()
        if users_losing_access and "confirmed" not in request.POST:
            # The page shows only the people who would lose access.
            affected = replace(assignment, users=users_losing_access)
            return self._ask_to_confirm(request, affected, ReasonForm())
        form = ReasonForm(request.POST)
        if not form.is_valid():
            return self._ask_to_confirm(request, assignment, form)
        return self._carry_out(request, assignment, form.cleaned_data["reason"])

    def _ask_to_confirm(self, request, affected, form):
        """Show who is affected, with a button that sends the same data again.

        `form` asks for the reason, or shows why the reason cannot be used.
        """
        if affected.role is None:
            title = _("Remove from “%s”?") % affected.organization
        else:
            title = _("Change role in “%s”?") % affected.organization
        return self.render_page(
            request,
            affected.organization,
            "confirm",
            title,
            users=affected.users,
            role=affected.role,
            orphaned=membership.find_organizations_losing_last_admin(
                affected.list_changes()
            ),
            posted=list_fields(request.POST, without=["reason", CONFIRMED]),
            form=form,
        )

    def _carry_out(self, request, assignment, reason):
        with transaction.atomic():
            note_sent(request, request.path)
            changed = membership.change_roles(
                assignment.list_changes(),
                actor=request.user,
                reason=reason,
                confirmed=read_confirmed(request.POST),
            )
        if not changed:
            text = describe_no_change(assignment)
            return self.redirect_with_message(request, text, messages.WARNING)
        users = [change.user for change in changed]
        return self.redirect_with_message(
            request, describe_change(replace(assignment, users=users))
        )

    def _invite(self, request, organization, email, role):
        """Invite someone by email. Returns whether the invitation was created.

        The message on the page does not reveal whether someone has this address.
        """
        try:
            self._save_invitation(request, organization, email, role)
        except TooManyEmails:
            text = _(
                "Too many emails were sent to “%s” in a short time. Wait 15 minutes,"
                " then try again."
            )
            self.message_user(request, text % email, messages.ERROR)
            return False
        except invitations.TooManyInvitations as error:
            text = _(
                "Nobody was invited, because too many invitations were sent in a day."
                " You can send more from %s."
            )
            when = date_format(timezone.localtime(error.until), "DATETIME_FORMAT")
            self.message_user(request, text % when, messages.ERROR)
            return False
        text = _("An invitation is on its way to “%s”.")
        self.message_user(request, text % email, messages.SUCCESS)
        return True

    @transaction.atomic
    def _save_invitation(self, request, organization, email, role):
        """Write an invitation, and the task to send it, unless that was done before.

        If there were too many, nothing is written, so the form can be sent again.
        """
        note_sent(request, request.path, button=email)
        # Strangers who ask for emails to this address must not prevent the invitation.
        subject = f"{organization.pk} {email}"
        if not throttle.count_attempt("invitation mail", subject):
            raise TooManyEmails
        invitation = invitations.invite(organization, email, role, actor=request.user)
        # The admin waits for it. The invitations of an import come later.
        task = send_invitation.using(priority=outbox.URGENT)
        outbox.enqueue(task, invitation=invitation.pk)

    def _change_invitation(self, request, organization):
        """Revoke or resend the invitation whose key was sent as `invitation`."""
        invitation = organization.invitations.select_related("organization").get(
            pk=request.POST["invitation"]
        )
        if "revoke" in request.POST:
            invitations.revoke(invitation, actor=request.user)
            text = _("The invitation for “%s” was revoked.")
            return self.redirect_with_message(request, text % invitation.email)
        role = ROLES_BY_KEY[invitation.role]
        self._invite(request, organization, invitation.email, role)
        return HttpResponseRedirect(request.path)


def gives_managing_role(post):
    """Return whether a form names a role whose members manage the others."""
    keys = [key for field in ROLE_FIELDS for key in post.getlist(field)]
    roles = [ROLES_BY_KEY[key] for key in keys if key in ROLES_BY_KEY]
    return any("manage_members" in role.permissions for role in roles)


def describe_change(assignment):
    """Return the message about an assignment that was carried out."""
    names = list_quoted(assignment.users)
    if assignment.role is None:
        text = ngettext(
            "%(names)s was removed from “%(organization)s”.",
            "%(names)s were removed from “%(organization)s”.",
            len(assignment.users),
        )
        return text % {"names": names, "organization": assignment.organization}
    text = ngettext(
        "%(names)s is now %(role)s of “%(organization)s”.",
        "%(names)s now have the role %(role)s in “%(organization)s”.",
        len(assignment.users),
    )
    return text % {
        "names": names,
        "role": assignment.role.label,
        "organization": assignment.organization,
    }


def describe_no_change(assignment):
    """Return the message about an assignment that had nothing to change."""
    if assignment.role is None or not assignment.users:
        return _("No changes: this person is not a member.")
    return _("No changes: they already have this role.")
