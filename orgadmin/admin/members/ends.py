"""The part of the People page that changes when the access of members ends."""

from django.contrib import messages
from django.db import transaction
from django.utils.translation import gettext as _

from orgadmin.access.ends import show_end
from orgadmin.access.roles import ADMIN
from orgadmin.admin.members.end_field import EndForm
from orgadmin.admin.members.messages import NO_MEMBER, PAST_END
from orgadmin.admin.quotes import quote
from orgadmin.models import Membership, User
from orgadmin.people import membership
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.ends import plan_end
from orgadmin.people.find_namesakes import mark_namesakes_among_members


class RoleHasChanged(Exception):
    """The person no longer has the role that the page showed."""


class MemberEnds:
    """The methods of the page people/ that handle the ends of memberships."""

    def _set_end(self, request, organization, role):
        """Set, change or remove the end of the membership of a person with a role.

        `request.POST["user"]` is the primary key of the person. The response is the
        same for people who are not members and for people who do not exist.
        """
        url = self._get_people_url(organization)
        user = find_members(organization, request.POST["user"]).first()
        removes_end = "no_end" in request.POST
        form = EndForm(data={} if removes_end else request.POST)
        if user is not None and not form.is_valid():
            return self._ask_for_end(request, organization, user.pk, form)
        try:
            changed = self._write_end(request, organization, user, role, form)
        except RoleHasChanged:
            text = _(
                "Nothing was changed, because this person does not have this role any"
                " more."
            )
            return self.redirect_with_message(request, text, messages.WARNING, url)
        except membership.EndInThePast:
            return self.redirect_with_message(request, PAST_END, messages.ERROR, url)
        if not changed:
            text = _("No changes: their access already has this end date.")
            return self.redirect_with_message(request, text, messages.WARNING, url)
        return self.redirect_with_message(request, describe_end(changed[0]), to=url)

    @transaction.atomic
    def _write_end(self, request, organization, user, role, form):
        """Change the end of a membership, and return the changes that were made.

        `user` is None if the person is not a member. Raises `RoleHasChanged` if they
        are not a member with this role, and `EndInThePast` if the end has passed.
        """
        if user is None:
            raise RoleHasChanged
        end = MembershipEnd(form.cleaned_data["ends_on"])
        changed = membership.change_roles(
            [RoleChange(user, organization, role, end=end)], actor=request.user
        )
        if any(not change.is_only_of_end for change in changed):
            # The exception rolls back the transaction.
            raise RoleHasChanged
        return changed

    def _ask_for_end(self, request, organization, pk, form=None):
        """Show the page that sets, changes or removes the end of a membership.

        The response is the same for people who are not members and for people who do
        not exist.
        """
        user = find_members(organization, pk).first()
        member = membership.find_member(organization, user) if user else None
        if member is None:
            return self._respond_to_no_member(request, organization)
        mark_namesakes_among_members([user], [organization])
        values = {
            "person": quote(user.label_without_email),
            "organization": quote(organization),
        }
        return self.render_page(
            request,
            organization,
            "end",
            _("When does the access of %(person)s to %(organization)s end?") % values,
            person=user,
            member=member,
            form=form or EndForm(initial={"ends_on": member.ends_at}),
        )

    def _respond_to_no_member(self, request, organization):
        url = self._get_people_url(organization)
        return self.redirect_with_message(request, NO_MEMBER, messages.WARNING, url)

    def _find_end_of_last_admin(self, organization, members):
        """Return when the organization will lose its last active admin, or None.

        Runs a query only if `members`, who are shown on the page, include an admin
        whose access ends.
        """
        if not any(member.role is ADMIN and member.ends_at for member in members):
            return None
        return plan_end(membership.find_end_of_last_admin(organization))


def find_members(organization, pk):
    """Return a queryset with the user who has this key, if the user is a member."""
    members = Membership.objects.users_in(organization.group_ids)
    return User.objects.filter(pk__in=members.filter(user=pk))


def describe_end(change):
    """Return the message about a membership whose end was changed."""
    values = {
        "person": quote(change.user.label_without_email),
        "organization": quote(change.organization),
    }
    if change.ends_at is None:
        text = _("The access of %(person)s to %(organization)s no longer ends.")
        return text % values
    text = _("%(person)s has access to %(organization)s until %(end)s.")
    return text % {**values, "end": show_end(change.ends_at)}
