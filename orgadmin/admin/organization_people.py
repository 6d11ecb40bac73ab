"""The page of an organization's people: members, their roles, and invitations."""

from django.contrib import messages
from django.http import HttpResponseRedirect
from django.utils.translation import gettext as _, ngettext

from orgadmin.access.roles import ROLES, ROLES_BY_KEY
from orgadmin.accounts import throttle
from orgadmin.admin.changelist import get_page
from orgadmin.admin.membership_log import hide_platform_staff
from orgadmin.admin.people_forms import AddMembersForm, InviteForm
from orgadmin.gate.answers import get_gate
from orgadmin.models import User
from orgadmin.models.validators import is_primary_key
from orgadmin.people import invitations, membership
from orgadmin.people.changes import RoleChange
from orgadmin.people.mail import send_invitation


class PeoplePage:
    """The page people/ below an organization."""

    def people_view(self, request, organization):
        """Show an organization's people, and change them as a button of the page says.

        Superusers choose from all people. Others can only invite someone by email, so
        that they do not learn who has an account.
        """
        post = request.POST
        permissions = get_gate(request).permissions_on(organization.pk)
        may_add = request.user.is_superuser and "add" in post
        add_form = AddMembersForm(post if may_add else None, permissions=permissions)
        invite_form = InviteForm(
            post if "invite" in post else None, permissions=permissions
        )
        if add_form.is_valid():
            return self._add_people(request, organization, add_form)
        if invite_form.is_valid():
            was_invited = self._invite(
                request, organization, **invite_form.cleaned_data
            )
            if was_invited:
                return HttpResponseRedirect(request.path)
        if is_primary_key(post.get("invitation", "")):
            return self._change_invitation(request, organization)
        if is_primary_key(post.get("user", "")):
            role = ROLES_BY_KEY.get(post.get("role"))
            if role is not None:
                return self._change_member(request, organization, role)
            if "remove" in post:
                return self._change_member(request, organization, None)
        return self._show_people(request, organization, add_form, invite_form)

    def _show_people(self, request, organization, add_form, invite_form):
        memberships = (
            membership.Membership.objects.filter(group__in=organization.group_ids)
            .select_related("user")
            .order_by("user__username", "pk")
        )
        page = get_page(request, memberships)
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
            roles=[role for role in ROLES if membership.may_assign(permissions, role)],
            invitations=organization.invitations.all(),
            adding=add_form if request.user.is_superuser else None,
            inviting=invite_form,
            media=self.media + add_form.media,
        )

    def _add_people(self, request, organization, form):
        users = list(form.cleaned_data["users"])
        return self._change_roles(
            request, organization, users, form.cleaned_data["role"]
        )

    def _change_member(self, request, organization, role):
        """Change the role of the member who was sent as `user`; None removes them.

        Anyone else, known or unknown, is answered as if there were no such person.
        """
        members = User.objects.filter(
            groups__in=organization.group_ids, pk=request.POST["user"]
        ).distinct()
        return self._change_roles(request, organization, list(members), role)

    def _change_roles(self, request, organization, users, role):
        """Give people a role, or remove them. Ask first if they lose access by that."""
        losing = find_losing_access(organization, users, role)
        if losing and "confirmed" not in request.POST:
            return self._preview_changes(request, organization, losing, role)
        return self._execute_changes(request, organization, users, role)

    def _preview_changes(self, request, organization, users, role):
        """Show who would lose access, with a button that sends the same data again."""
        changes = [RoleChange(user, organization, role) for user in users]
        return self.render_page(
            request,
            organization,
            "confirm",
            _("Are you sure?"),
            users=users,
            role=role,
            orphaned=membership.find_losing_last_admin(changes),
            posted=request.POST.lists(),
        )

    def _execute_changes(self, request, organization, users, role):
        wanted = [RoleChange(user, organization, role) for user in users]
        reason = request.POST.get("reason", "")
        try:
            changed = membership.change_roles(wanted, actor=request.user, reason=reason)
        except membership.LastAdminError:
            text = _(
                "Nothing was changed, because “%s” would be left without an active"
                " admin. Make someone else an admin first."
            )
            return self.answer(request, text % organization, messages.ERROR)
        if not changed:
            text = describe_no_change(users, role)
            return self.answer(request, text, messages.WARNING)
        return self.answer(request, describe_changes(organization, changed, role))

    def _invite(self, request, organization, email, role):
        """Invite someone, send the email, and say so. Return whether they are invited.

        The message is the same whether someone has this address or not.
        """
        if not throttle.count_attempt("mail", email):
            text = _(
                "Too many emails were sent to “%s” in a short time. Wait 15 minutes,"
                " then try again."
            )
            self.message_user(request, text % email, messages.ERROR)
            return False
        invitation = invitations.invite(organization, email, role, actor=request.user)
        if send_invitation(invitation):
            text = _("An invitation was sent to “%s”.")
            self.message_user(request, text % email, messages.SUCCESS)
        else:
            text = _(
                "“%s” was invited, but the email could not be sent. Resend the"
                " invitation later."
            )
            self.message_user(request, text % email, messages.WARNING)
        return True

    def _change_invitation(self, request, organization):
        """Revoke or resend the invitation that was sent as `invitation`."""
        invitation = organization.invitations.select_related("organization").get(
            pk=request.POST["invitation"]
        )
        if "revoke" in request.POST:
            invitations.revoke(invitation, actor=request.user)
            text = _("The invitation for “%s” was revoked.")
            return self.answer(request, text % invitation.email)
        role = ROLES_BY_KEY[invitation.role]
        self._invite(request, organization, invitation.email, role)
        return HttpResponseRedirect(request.path)


def find_losing_access(organization, users, role):
    """Return the users whose current role permits more than the new one does."""
    kept = set(role.permissions) if role is not None else set()
    higher_roles = [other for other in ROLES if not set(other.permissions) <= kept]
    group_ids = [getattr(organization, other.attname) for other in higher_roles]
    losing = User.objects.filter(
        pk__in=[user.pk for user in users], groups__in=group_ids
    )
    return list(losing.distinct())


def describe_changes(organization, changes, role):
    """Return the message after people got a role, or were removed if it is None."""
    names = ", ".join(f"“{change.user}”" for change in changes)
    if role is None:
        text = ngettext(
            "%(names)s was removed from “%(organization)s”.",
            "%(names)s were removed from “%(organization)s”.",
            len(changes),
        )
        return text % {"names": names, "organization": organization}
    text = ngettext(
        "%(names)s is now %(role)s of “%(organization)s”.",
        "%(names)s now have the role %(role)s in “%(organization)s”.",
        len(changes),
    )
    return text % {"names": names, "role": role.label, "organization": organization}


def describe_no_change(users, role):
    """Return the message when everything already was as requested."""
    if role is None or not users:
        return _("No changes: this person is not a member.")
    return _("No changes: they already have this role.")
