"""The page of an organization's people: members, their roles, and invitations."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from orgadmin.access.roles import ROLES, ROLES_BY_KEY, Role, get_role
from orgadmin.accounts import throttle
from orgadmin.accounts.sessions.kept_forms import (
    choose_key,
    get_returned_form,
    tell_not_saved,
)
from orgadmin.accounts.step_up import list_fields
from orgadmin.admin.last_admin import (
    CONFIRMATION_FIELD,
    describe_refusal,
    read_confirmed,
)
from orgadmin.admin.lists.changelist import get_page
from orgadmin.admin.members.end_field import EndForm
from orgadmin.admin.members.ends import MemberEnds, find_members
from orgadmin.admin.members.forms import (
    AddPeopleForm,
    CorrectAddressForm,
    NewRoleForm,
    ReasonForm,
)
from orgadmin.admin.members.messages import (
    PAST_END,
    PAST_OFFER,
    describe_change,
    describe_invitations,
    describe_no_change,
    title_question,
)
from orgadmin.admin.members.suggestions import sees_people, suggest
from orgadmin.admin.once import note_sent
from orgadmin.admin.organizations.requests import find_open
from orgadmin.admin.quotes import quote
from orgadmin.admin.reviews.notices import find_waiting
from orgadmin.gate.answers import get_gate, renew_gate
from orgadmin.models import Membership, Organization, User
from orgadmin.models.guards import LastAdminError
from orgadmin.models.naming import mark_namesakes
from orgadmin.models.validators import is_primary_key
from orgadmin.people import invitations, membership, outbox
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.ends import plan_end
from orgadmin.people.find_namesakes import mark_namesakes_among_members
from orgadmin.people.find_people import split_names
from orgadmin.people.mail import send_invitation
from orgadmin.records.event_actors import (
    find_known_actors,
    find_names,
    hide_platform_staff,
)

# The form fields of the page in which people are named, and those that choose a role.
NAME_FIELDS = (f"{AddPeopleForm.prefix}-who", f"{AddPeopleForm.prefix}-several")
ROLE_FIELDS = ("role", f"{AddPeopleForm.prefix}-role")

# The number of members on a page, and the number of invitations.
PEOPLE_PER_PAGE = 50

# The maximum number of requests for access on this page. The page requests/ shows all.
REQUESTS_SHOWN = 10


@dataclass(frozen=True)
class Assignment:
    """The role to give to some people in an organization.

    If the role is None, the people are removed from the organization. The addresses in
    `emails` get an invitation to the role.
    """

    organization: Organization
    users: list[User]
    role: Role | None
    emails: list[str] = field(default_factory=list)
    end: MembershipEnd | None = None  # None keeps the current end, as in `RoleChange`

    @property
    def ends_at(self) -> datetime | None:
        return self.end.at if self.end is not None else None

    def list_changes(self) -> list[RoleChange]:
        return [
            RoleChange(user, self.organization, self.role, end=self.end)
            for user in self.users
        ]

    def find_users_losing_access(self) -> list[User]:
        """Return the people whose current role has permissions that the new one lacks.

        If the new role is None, these are all members in `users`.
        """
        permissions = set(self.role.permissions) if self.role is not None else set()
        group_ids = [
            getattr(self.organization, role.attname)
            for role in ROLES
            if not set(role.permissions) <= permissions
        ]
        user_ids = [user.pk for user in self.users]
        members = Membership.objects.users_in(group_ids).filter(user__in=user_ids)
        return list(User.objects.filter(pk__in=members))


class TooManyEmails(Exception):
    """Too many emails were sent to an address in a short time."""

    def __init__(self, email):
        super().__init__(email)
        self.email = email


class PeoplePage(MemberEnds):
    """The page people/ below an organization."""

    def needs_recent_sign_in(self, request, name):
        """Return whether a request needs a recent sign-in.

        On the page "people", a recent sign-in is needed to add several people at once,
        and to correct the address of an invitation. On the pages "people" and
        "requests", it is needed to give someone a role that manages people, or (on
        "people") to change the end of such a role. Removing people never needs one.
        """
        if name == "requests" and gives_managing_role(request.POST):
            return True
        if name == "people":
            adds_several = len(list_names(request.POST)) > 1
            if "correct" in request.POST:
                # This invites someone else, possibly to a role that manages people.
                return True
            if adds_several or gives_managing_role(request.POST):
                return True
        return super().needs_recent_sign_in(request, name)

    def people_view(self, request, organization):
        """Show an organization's people, or handle a button of that page.

        ?suggest=<text> returns suggestions of people to add. ?change=, ?end= and
        ?remove= ask about a member, and ?revoke= and ?correct= about an invitation.
        """
        if request.method == "GET" and "suggest" in request.GET:
            found = suggest(request, organization, self.admin_site)
            return JsonResponse({"suggestions": found})
        returned = get_returned_form(request)
        if returned is not None:
            return self._show_returned(request, organization, returned)
        post = request.POST
        form = self._make_form(request, organization, post)
        already = []
        if form.is_valid():
            already = self._find_members_to_invite(request, organization, form)
            if not already:
                response = self._add_people(request, organization, form)
                if response is not None:
                    return response
        if is_primary_key(post.get("invitation", "")):
            return self._change_invitation(request, organization)
        if is_primary_key(post.get("user", "")):
            role = ROLES_BY_KEY.get(post.get("role"))
            if role is not None and "set_end" in post:
                return self._set_end(request, organization, role)
            if role is not None:
                return self._change_role(request, organization, role)
            if "remove" in post:
                return self._change_member(request, organization, None)
        response = self._ask(request, organization)
        return response or self._show_people(request, organization, form, already)

    def _make_form(self, request, organization, data):
        """Return the form that adds people.

        The form gets `data` only if its button was pressed. A form without data is not
        valid.
        """
        permissions = get_gate(request).permissions_on(organization.pk)
        return AddPeopleForm(
            data if "add" in data else None, permissions=permissions, actor=request.user
        )

    def _show_returned(self, request, organization, data):
        """Show the form that the person had filled in before they signed in again.

        Does not save anything.
        """
        form = self._make_form(request, organization, data)
        if form.is_bound:
            tell_not_saved(request)
        return self._show_people(request, organization, form, already=[])

    def _show_people(self, request, organization, form, already):
        """Show the members, the invitations, and the form that adds people.

        `already` lists people whom the form tried to invite although they are members.
        """
        memberships = (
            Membership.objects.current()
            .filter(group__in=organization.group_ids)
            .select_related("user")
            .order_by("user__sort_name", "pk")
        )
        page = get_page(request, memberships, size=PEOPLE_PER_PAGE)
        members = membership.describe_members(organization, page)
        invited = get_page(
            request,
            organization.invitations.select_related("invited_by"),
            parameter="invitations",
            size=PEOPLE_PER_PAGE,
        )
        for invitation in invited:
            invitation.end = plan_end(invitation.membership_ends_at)
        mark_namesakes(member.user for member in members)
        self._hide_platform_staff(request, organization, members, invited)
        self._set_actor_names(request, organization, members, invited)
        permissions = get_gate(request).permissions_on(organization.pk)
        roles = [role for role in ROLES if membership.may_assign(permissions, role)]
        return self.render_page(
            request,
            organization,
            "people",
            _("People"),
            page=page,
            members=members,
            last_admin=self._find_last_admin(request, organization),
            end_of_last_admin=self._find_end_of_last_admin(organization, members),
            assignable=roles,
            only_role=roles[0] if len(roles) == 1 else None,
            invitations=invited,
            requests=find_open(organization)[:REQUESTS_SHOWN],
            adding=form,
            form_key=choose_key(request),
            already=already,
            offered=form.cleaned_data["role"] if already else None,
            sees_people=sees_people(request, self.admin_site),
            waiting=find_waiting([organization.pk]).get(organization.pk),
        )

    def _hide_platform_staff(self, request, organization, members, invited):
        """Hide who added members and sent invitations, if they were never members.

        The page calls these people platform staff. Does nothing for superusers. For
        everyone else, runs one query.
        """
        if request.user.is_superuser:
            return
        joined = [member.joined for member in members if member.joined is not None]
        keys = {event.actor_key for event in joined}
        keys.update(invitation.invited_by_id for invitation in invited)
        known_keys = find_known_actors(keys, organization)
        hide_platform_staff(joined, organization, request.user, known_keys)
        for invitation in invited:
            inviter_key = invitation.invited_by_id
            if inviter_key is not None and inviter_key not in known_keys:
                invitation.is_by_platform_staff = True

    def _set_actor_names(self, request, organization, members, invited):
        """Set the names of the people who added members and sent invitations.

        Names are shown or hidden as in the membership log. Runs up to one query.
        """
        joined = [member.joined for member in members if member.joined is not None]
        keys = {event.actor_key for event in joined}
        keys.update(invitation.invited_by_id for invitation in invited)
        names = find_names(keys, organization, request.user)
        # Use the members' labels on this page, which distinguish members with the same
        # name.
        for member in members:
            names[member.user.pk] = member.user.label_without_email
        for event in joined:
            event.actor_name = names.get(event.actor_key, event.actor_name)
        for invitation in invited:
            inviter = invitation.invited_by
            # `names` does not have the current names of former members, so the page
            # shows their usernames.
            username = inviter.username if inviter is not None else ""
            invitation.inviter_name = names.get(invitation.invited_by_id, username)

    def _find_last_admin(self, request, organization):
        """Return the ID of the only active admin, or None if there are none or several.

        Also returns None for superusers, who can remove the only admin.
        """
        if request.user.is_superuser:
            return None
        return membership.find_last_admin(organization)

    # Adding and changing people

    def _find_members_to_invite(self, request, organization, form):
        """Return the members of the organization who would be invited.

        Returns [] for superusers, because the role that they give takes effect without
        an invitation.
        """
        if request.user.is_superuser:
            return []
        return membership.find_members(organization, form.people.emails)

    def _add_people(self, request, organization, form):
        """Add and invite people. Returns None if the form must be shown again."""
        people = form.people
        role = form.cleaned_data["role"]
        ends_at = form.cleaned_data["ends_on"]
        # If no day was chosen, people who are already members keep their current end.
        end = MembershipEnd(ends_at) if ends_at is not None else None
        assignment = Assignment(
            organization, people.users, role, emails=people.emails, end=end
        )
        return self._assign(request, assignment)

    def _change_role(self, request, organization, role):
        """Change the role of a member, and its end if one was sent."""
        if "ends_on" not in request.POST:
            return self._change_member(request, organization, role)
        form = EndForm(request.POST)
        if form.is_valid():
            end = MembershipEnd(form.cleaned_data["ends_on"])
            return self._change_member(request, organization, role, end)
        member = find_members(organization, request.POST["user"]).first()
        if member is None:
            return self._change_member(request, organization, role)
        return self._ask_for_role(request, organization, member)

    def _change_member(self, request, organization, role, end=None):
        """Change the role of a member, or remove them if the role is None.

        `request.POST["user"]` is the primary key of the member. The response is the
        same for people who are not members and for people who do not exist.
        """
        members = find_members(organization, request.POST["user"])
        assignment = Assignment(organization, list(members), role, end=end)
        return self._assign(request, assignment)

    def _assign(self, request, assignment):
        """Carry out an assignment, or ask for confirmation if anyone would lose access.

        Returns None if nothing was saved, because too many emails were sent or the end
        is in the past. Raises `LastAdminError` if the organization would lose its last
        active admin, unless the person is a superuser and has confirmed that.
        """
        self._refuse_last_admin(request, assignment)
        users_losing_access = assignment.find_users_losing_access()
        if users_losing_access and "confirmed" not in request.POST:
            # The page shows only the people who would lose access.
            affected = replace(assignment, users=users_losing_access)
            return self._ask_to_confirm(request, affected, ReasonForm())
        form = ReasonForm(request.POST)
        if not form.is_valid():
            return self._ask_to_confirm(request, assignment, form)
        try:
            return self._carry_out(request, assignment, form.cleaned_data["reason"])
        except (TooManyEmails, invitations.TooManyInvitations) as error:
            self.message_user(request, describe_limit(error), messages.ERROR)
            return None
        except membership.EndInThePast:
            self.message_user(request, PAST_END, messages.ERROR)
            return None

    def _refuse_last_admin(self, request, assignment):
        """Raise `LastAdminError` if the assignment would leave no active admin.

        Superusers are asked to confirm this later.
        """
        if request.user.is_superuser:
            return
        changes = assignment.list_changes()
        organizations = membership.find_organizations_losing_last_admin(changes)
        if organizations:
            raise LastAdminError(organizations)

    def _ask(self, request, organization):
        """Show the page that asks about the member or invitation in the URL.

        Returns None if the URL does not ask about anything. The response is the same
        for people who are not members and for people who do not exist.
        """
        pk = read_key(request, "revoke")
        if pk is not None:
            return self._ask_to_revoke(request, organization, pk)
        pk = read_key(request, "correct")
        if pk is not None:
            return self._ask_to_correct(request, organization, pk)
        pk = read_key(request, "end")
        if pk is not None:
            return self._ask_for_end(request, organization, pk)
        changed_pk = read_key(request, "change")
        pk = changed_pk or read_key(request, "remove")
        if pk is None:
            return None
        members = find_members(organization, pk)
        removal = Assignment(organization, list(members), role=None)
        url = self._get_people_url(organization)
        if not removal.users:
            text = describe_no_change(removal)
            return self.redirect_with_message(request, text, messages.WARNING, url)
        try:
            self._refuse_last_admin(request, removal)
        except LastAdminError as error:
            text = describe_refusal(error, request.user)
            return self.redirect_with_message(request, text, messages.ERROR, url)
        if changed_pk is not None:
            return self._ask_for_role(request, organization, removal.users[0])
        return self._ask_to_confirm(request, removal, ReasonForm())

    def _ask_for_role(self, request, organization, user):
        """Show the page that changes the role of a member.

        The access of `user` may have ended after they were loaded. The page then says
        that they are not a member.
        """
        permissions = get_gate(request).permissions_on(organization.pk)
        member = membership.find_member(organization, user)
        if member is None:
            return self._respond_to_no_member(request, organization)
        mark_namesakes_among_members([user], [organization])
        form = NewRoleForm(
            request.POST or None,
            permissions=permissions,
            current=member.role,
            ends_at=member.ends_at,
        )
        return self.render_page(
            request,
            organization,
            "change_role",
            _("Change the role of %(person)s in %(organization)s?")
            % {
                "person": quote(user.label_without_email),
                "organization": quote(organization),
            },
            person=user,
            current=member.role,
            roles_form=form,
            form=ReasonForm(request.POST or None),
            losing_last_admin=membership.find_organizations_losing_last_admin(
                [RoleChange(user, organization, role=None)]
            ),
        )

    def _ask_to_confirm(self, request, affected, form):
        """Show who is affected, with a button that sends the same data again.

        `form` asks for the reason, or shows what is wrong with the reason that was
        entered.
        """
        mark_namesakes_among_members(affected.users, [affected.organization])
        posted = list_fields(request.POST, without=["reason", CONFIRMATION_FIELD])
        if request.method == "GET":
            # A link led here. Send what the button that removes a member would send.
            posted = [("user", [affected.users[0].pk]), ("remove", [""])]
        return self.render_page(
            request,
            affected.organization,
            "confirm",
            title_question(affected),
            users=affected.users,
            sees_people=sees_people(request, self.admin_site),
            role=affected.role,
            end=plan_end(affected.ends_at),
            losing_last_admin=membership.find_organizations_losing_last_admin(
                affected.list_changes()
            ),
            posted=posted,
            form=form,
        )

    def _ask_to_revoke(self, request, organization, pk):
        """Show the page that asks before an invitation is revoked."""
        invitation = organization.invitations.get(pk=pk)
        title = _("Revoke the invitation for %s?") % quote(invitation.email)
        return self.render_page(
            request, organization, "revoke", title, invitation=invitation
        )

    def _carry_out(self, request, assignment, reason):
        """Change roles and send invitations in one transaction, and redirect.

        Raises `AlreadySent`, `LastAdminError`, `EndInThePast`, `TooManyEmails` or
        `TooManyInvitations` if nothing may be saved.
        """
        with transaction.atomic():
            note_sent(request, self._get_people_url(assignment.organization))
            changed = []
            if assignment.users:
                changed = membership.change_roles(
                    assignment.list_changes(),
                    actor=request.user,
                    reason=reason,
                    confirmed=read_confirmed(request.POST),
                )
            for email in assignment.emails:
                self._send_invitation(request, assignment, email)
        users = [change.user for change in changed]
        if users:
            text = describe_change(replace(assignment, users=users))
            self.message_user(request, text, messages.SUCCESS)
        elif not assignment.emails:
            text = describe_no_change(assignment)
            self.message_user(request, text, messages.WARNING)
        if assignment.emails:
            text = describe_invitations(assignment.emails)
            self.message_user(request, text, messages.SUCCESS)
        url = self._find_next_url(request, assignment.organization, users)
        return HttpResponseRedirect(url)

    def _find_next_url(self, request, organization, changed_users):
        """Return the URL of the page to show after a change.

        This is the People page. If the person changed their own role and can no longer
        open the People page, it is a page that they can open.
        """
        if request.user not in changed_users:
            return self._get_people_url(organization)
        gate = renew_gate(request)
        if gate.permits("manage_members", organization.pk):
            return self._get_people_url(organization)
        if gate.permits("view", organization.pk):
            return self.get_record_url(organization)
        return reverse("admin:index")

    # Invitations

    def _send_invitation(self, request, assignment, email):
        """Save an invitation, and queue the task that sends it.

        Raises `TooManyEmails` if too many emails about this organization were sent to
        the address in a short time. Raises `TooManyInvitations` if too many invitations
        were sent in a day, and `EndInThePast` if the offered access has ended. The
        caller's transaction is then rolled back, so the form can be sent again.
        """
        # The limit counts separately for each organization. Otherwise, strangers who
        # request emails to the same address could prevent the invitation.
        organization = assignment.organization
        subject = f"{organization.pk} {email}"
        if not throttle.count_attempt("invitation mail", subject):
            raise TooManyEmails(email)
        invitation = invitations.invite(
            organization,
            email,
            assignment.role,
            actor=request.user,
            ends_at=assignment.ends_at,
        )
        # The admin is waiting for this email, so it goes before invitations of imports.
        task = send_invitation.using(priority=outbox.URGENT)
        outbox.enqueue(task, invitation=invitation.pk)

    def _change_invitation(self, request, organization):
        """Revoke, correct or resend an invitation.

        `request.POST["invitation"]` is the primary key of the invitation.
        """
        url = self._get_people_url(organization)
        invitation = organization.invitations.select_related("organization").get(
            pk=request.POST["invitation"]
        )
        if "correct" in request.POST:
            return self._correct_address(request, organization, invitation)
        if "revoke" in request.POST:
            invitations.revoke(invitation, actor=request.user)
            text = _("The invitation for “%s” was revoked.") % invitation.email
            return self.redirect_with_message(request, text, to=url)
        try:
            self._resend(request, organization, invitation)
        except (TooManyEmails, invitations.TooManyInvitations) as error:
            text = describe_limit(error)
            return self.redirect_with_message(request, text, messages.ERROR)
        except membership.EndInThePast:
            return self.redirect_with_message(request, PAST_OFFER, messages.ERROR)
        text = describe_invitations([invitation.email])
        return self.redirect_with_message(request, text)

    def _correct_address(self, request, organization, invitation):
        """Send an invitation to another address, or show the form with its errors."""
        form = CorrectAddressForm(request.POST, invitation=invitation)
        if not form.is_valid():
            return self._ask_to_correct(request, organization, invitation.pk, form)
        email = form.cleaned_data["email"]
        url = self._get_people_url(organization)
        try:
            self._send_to(request, organization, invitation, email)
        except (TooManyEmails, invitations.TooManyInvitations) as error:
            text = describe_limit(error)
            return self.redirect_with_message(request, text, messages.ERROR, to=url)
        except membership.EndInThePast:
            return self.redirect_with_message(
                request, PAST_OFFER, messages.ERROR, to=url
            )
        text = describe_invitations([email])
        old = _("The link that was sent to %s no longer works.")
        text = f"{text} {old % quote(invitation.email)}"
        return self.redirect_with_message(request, text, to=url)

    @transaction.atomic
    def _send_to(self, request, organization, invitation, email):
        """Revoke an invitation, and send the same invitation to another address.

        Raises the exceptions of `_send_invitation()`.
        """
        invitations.revoke(invitation, actor=request.user)
        assignment = Assignment(
            organization,
            users=[],
            role=get_role(invitation.role),
            end=MembershipEnd(invitation.membership_ends_at),
        )
        self._send_invitation(request, assignment, email)

    def _ask_to_correct(self, request, organization, pk, form=None):
        """Show the page that corrects the address of an invitation."""
        invitation = organization.invitations.select_related("organization").get(pk=pk)
        title = _("Correct the address of the invitation for %s?")
        return self.render_page(
            request,
            organization,
            "correct",
            title % quote(invitation.email),
            invitation=invitation,
            form=form or CorrectAddressForm(invitation=invitation),
        )

    @transaction.atomic
    def _resend(self, request, organization, invitation):
        """Send an invitation again, with a new link.

        Raises the exceptions of `_send_invitation()`, and `AlreadySent`.
        """
        url = self._get_people_url(organization)
        # All buttons of the page send the same form key, so the address is added to
        # tell them apart.
        note_sent(request, url, button=invitation.email)
        assignment = Assignment(
            organization,
            users=[],
            role=get_role(invitation.role),
            end=MembershipEnd(invitation.membership_ends_at),
        )
        self._send_invitation(request, assignment, invitation.email)

    def _get_people_url(self, organization):
        return reverse("admin:orgadmin_organization_people", args=[organization.pk])


def read_key(request, name):
    """Return the primary key in a URL parameter of a GET request, or None."""
    key = request.GET.get(name, "")
    if request.method != "GET" or not is_primary_key(key):
        return None
    return int(key)


def list_names(post):
    """Return the names that were entered in any of the fields for people."""
    texts = [text for field in NAME_FIELDS for text in post.getlist(field)]
    return split_names("\n".join(texts))


def gives_managing_role(post):
    """Return whether the data of a form chooses a role that manages members."""
    keys = [key for field in ROLE_FIELDS for key in post.getlist(field)]
    roles = [ROLES_BY_KEY[key] for key in keys if key in ROLES_BY_KEY]
    return any("manage_members" in role.permissions for role in roles)


def describe_limit(error):
    """Return the message about an invitation that exceeded a limit."""
    if isinstance(error, TooManyEmails):
        text = _(
            "Nothing was saved, because too many emails were sent to “%s” in a short"
            " time. Wait 15 minutes, then try again."
        )
        return text % error.email
    text = _(
        "Nothing was saved, because too many invitations were sent in a day. You can"
        " send more from %s."
    )
    return text % date_format(timezone.localtime(error.until), "DATETIME_FORMAT")
