"""The pages of people."""

from http import HTTPStatus

from allauth.mfa.models import Authenticator
from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _, gettext_noop

from orgadmin.access.rule import SUPERUSERS_ONLY, is_active_superuser
from orgadmin.accounts.password_link import TooManyLinks, request_password_link
from orgadmin.accounts.sessions.kept_forms import (
    choose_key,
    get_returned_form,
    tell_not_saved,
)
from orgadmin.admin.activity import ActivityPage
from orgadmin.admin.base import (
    STOCK_PAGES,
    SuperuserOnlyAdmin,
)
from orgadmin.admin.delete_page import DeletesAsActor
from orgadmin.admin.forms import PersonPasswordForm, UserForm
from orgadmin.admin.imports.people_files import PeopleFilePages
from orgadmin.admin.last_admin import REFUSALS, describe_refusal
from orgadmin.admin.lists.changelist import Sort
from orgadmin.admin.lists.rows import show_day
from orgadmin.admin.members.forms import ReasonForm
from orgadmin.admin.members.messages import PAST_END
from orgadmin.admin.members.people_list_log import record_people_viewed
from orgadmin.admin.people.access import (
    TOO_MANY_LINKS,
    AccessPage,
    CompanyAccountPage,
    PasswordLinkPage,
    SecondFactorPage,
    SignOutPage,
)
from orgadmin.admin.people.bulk_pages import BulkPages
from orgadmin.admin.people.lists import (
    NO_ROLES,
    RoleFilter,
    StatusFilter,
    count_roles,
    render_roles,
    render_status,
)
from orgadmin.admin.people.new_person import AddPersonForm, NewPersonForm
from orgadmin.admin.people.overview import OrganizationsPage, OverviewPage
from orgadmin.admin.people.permission_names import NamesPermissions
from orgadmin.admin.people.personal_data import PersonalDataPages
from orgadmin.admin.people.view_as_page import ViewAsPage
from orgadmin.admin.successors import read_successor_form, require_successor_form
from orgadmin.gate.answers import holds_more_than
from orgadmin.models import Invitation, User
from orgadmin.models.guards import is_another_superuser_left
from orgadmin.models.user import CredentialsChanged
from orgadmin.people import membership, offboarding
from orgadmin.people.succession import hand_over


class OffboardingPage:
    """The page leave/ below a person, for superusers."""

    def leave_view(self, request, user):
        """Show what access a person would lose, or remove all their access."""
        if user == request.user:
            text = _("You cannot offboard yourself. Ask another superuser.")
            return self.redirect_with_message(
                request, text, messages.ERROR, self.get_record_url(user)
            )
        returned = get_returned_form(request)
        if returned is not None:
            tell_not_saved(request)
        form = ReasonForm(request.POST or returned)
        is_sent = "confirmed" in request.POST
        data = returned if returned is not None else request.POST
        successor_form = read_successor_form(data, [user], is_sent=is_sent)
        if is_sent and form.is_valid() and not successor_form.has_errors:
            reason = form.cleaned_data["reason"]
            return self._offboard(request, user, reason, successor_form)
        return self.render_page(
            request,
            user,
            "leave",
            _("Offboard “%s”?") % user.label,
            form=form,
            form_key=choose_key(request),
            roles=membership.list_roles(user),
            invitations=Invitation.objects.filter(invited_by=user).count(),
            successor_form=successor_form,
        )

    def _offboard(self, request, user, reason, successor_form):
        offboarding.offboard(
            user,
            actor=request.user,
            reason=reason,
            confirmed=successor_form.confirmed,
            successors=successor_form.chosen,
        )
        self.log_change(request, user, gettext_noop("Offboarded and deactivated."))
        text = _(
            "“%s” was offboarded. The account is deactivated and signed out everywhere."
        )
        return self.redirect_with_message(
            request, text % user.label, to=self.get_record_url(user)
        )


class GuardedDeletion:
    """Deletes people, and asks who takes over if they are the last active admins.

    The last active superuser cannot be deleted.
    """

    def delete_view(self, request, object_id, extra_context=None):
        try:
            return super().delete_view(request, object_id, extra_context)
        except REFUSALS as error:
            return self.respond_to_refusal(request, error)

    def render_delete_form(self, request, context):
        context |= make_deletion_context([context["object"]])
        return super().render_delete_form(request, context)

    @admin.action(
        permissions=["delete"],
        description=_("Delete selected %(verbose_name_plural)s"),
    )
    def delete_selected(self, request, queryset):
        """Run Django's action, which asks first, and also ask who takes over.

        Returns None, with a message, if the guards refuse the deletion.
        """
        try:
            with transaction.atomic():
                response = delete_selected(self, request, queryset)
        except REFUSALS as error:
            text = describe_refusal(error, request.user)
            self.message_user(request, text, messages.ERROR)
            return None
        if response is not None:
            response.context_data |= make_deletion_context(queryset)
        return response

    @transaction.atomic
    def delete_queryset(self, request, queryset):
        successor_form = require_successor_form(request.POST, list(queryset))
        hand_over(queryset, successor_form.chosen, actor=request.user)
        queryset.delete(actor=request.user, confirmed=successor_form.confirmed)


def make_deletion_context(users):
    """Return template variables for the page that asks before people are deleted."""
    has_superusers = any(is_active_superuser(user) for user in users)
    return {
        "successor_form": read_successor_form(data={}, leaving=users, is_sent=False),
        "is_last_superuser": has_superusers and not is_another_superuser_left(users),
    }


@admin.register(User)
class UserAdmin(
    OverviewPage,
    OrganizationsPage,
    AccessPage,
    ActivityPage,
    BulkPages,
    PeopleFilePages,
    CompanyAccountPage,
    OffboardingPage,
    PasswordLinkPage,
    PersonalDataPages,
    SecondFactorPage,
    SignOutPage,
    ViewAsPage,
    GuardedDeletion,
    DeletesAsActor,
    NamesPermissions,
    SuperuserOnlyAdmin,
    DjangoUserAdmin,
):
    """The admin of people.

    Staff with the model-level permissions for users can view all people, add people,
    and edit those who do not have more permissions than they do. Only superusers can
    delete people, see and assign permissions, roles and groups here, and change the
    username, password or email address of someone else.
    """

    form = UserForm
    add_form = AddPersonForm
    # Django's own template has an introduction about usernames, which is not needed.
    add_form_template = "admin/orgadmin/user/change_form.html"
    add_fieldsets = [
        (None, {"fields": ["email", "first_name", "last_name", "language"]}),
        (
            _("Username and password"),
            {
                "classes": ["collapse"],
                "description": _(
                    "Leave these empty to let the person choose a password."
                ),
                "fields": ["username", "password1", "password2"],
            },
        ),
    ]
    change_password_form = PersonPasswordForm
    pages = {
        "overview": "view",
        "organizations": SUPERUSERS_ONLY,
        "access": SUPERUSERS_ONLY,
        "activity": SUPERUSERS_ONLY,
        "company": SUPERUSERS_ONLY,
        "second_factor": SUPERUSERS_ONLY,
        "leave": SUPERUSERS_ONLY,
        "export": SUPERUSERS_ONLY,
        "erase": SUPERUSERS_ONLY,
        "password_link": "change",
        "sign_out": SUPERUSERS_ONLY,
        "view_as": SUPERUSERS_ONLY,
    }
    tabs = {
        "overview": _("Overview"),
        "organizations": _("Organizations"),
        "access": _("Access"),
        "activity": _("Activity"),
    }
    page_labels = {
        "company": _("Company account"),
        "second_factor": _("Second factor"),
        "leave": _("Offboard"),
        "export": _("Export personal data"),
        "erase": _("Erase"),
        "password_link": _("Send a link to set a password"),
        "sign_out": _("Sign out everywhere"),
        "view_as": _("View site as this person"),
    }
    # {page that is not a tab: the tab to highlight on it}
    parent_tabs = {
        "change": "overview",
        "history": "activity",
        "delete": "overview",
        "company": "access",
        "second_factor": "access",
        "leave": "overview",
        "export": "overview",
        "erase": "overview",
        "password_link": "overview",
        "sign_out": "access",
        "view_as": "overview",
    }
    actions = ["offboard_selected", "delete_selected", "remove_second_factor"]
    list_display = ["person", "roles", "status", "last_sign_in"]
    list_filter = [RoleFilter, StatusFilter]
    ordering = ["sort_name", "pk"]
    # Only the name has an index for sorting. The column headers are not links, because
    # people who use a keyboard would have to pass them on each visit. The filter panel
    # has a field to sort by name.
    sortable_by = ()
    sorts = {"person": Sort("sort_name", label=_("Name"))}
    autocomplete_fields = ["groups"]
    readonly_fields = ["last_login", "date_joined"]

    def is_permitted(self, request, permission, obj=None):
        # Superusers are allowed everything. The rest is about delegated staff.
        if super().is_permitted(request, permission):
            return True
        if permission == "delete":
            # Deleting a person also deletes their permissions and log entries.
            return False
        user = request.user
        if not (user.is_active and user.is_staff):
            return False
        name = self.opts.model_name
        return user.has_perms(
            [f"orgadmin.view_{name}", f"orgadmin.{permission}_{name}"]
        )

    def has_change_permission(self, request, obj=None):
        if not super().has_change_permission(request, obj):
            return False
        return obj is None or not holds_more_than(obj, request.user)

    def can_open(self, request, page, obj):
        if page == "history":
            # The history names organizations.
            return is_active_superuser(request.user)
        if page in STOCK_PAGES:
            return super().can_open(request, page, obj)
        permission = self.pages[page]
        if permission is SUPERUSERS_ONLY:
            return is_active_superuser(request.user)
        # This does not depend on the permissions of `obj`. Otherwise, the response
        # would reveal that the person has more permissions.
        return self.is_permitted(request, permission)

    def get_form(self, request, obj=None, **kwargs):
        if obj is None and not request.user.is_superuser:
            kwargs["form"] = NewPersonForm
        return super().get_form(request, obj, **kwargs)

    def get_readonly_fields(self, request, obj=None):
        names = super().get_readonly_fields(request, obj)
        if obj is None or request.user.is_superuser:
            return names
        own = ["username"] if obj == request.user else ["username", "email"]
        return [*names, *own]

    def get_fieldsets(self, request, obj=None):
        if obj is None and request.user.is_superuser:
            return super().get_fieldsets(request, obj)
        if obj is None:
            return [(None, {"fields": NewPersonForm.Meta.fields})]
        if request.user.is_superuser:
            # Hidden fields, with which UserForm asks for confirmation.
            names = ["successor", "confirmed_organizations", "groups_shown"]
            asked = (None, {"fields": names})
            return [*super().get_fieldsets(request, obj), asked]
        person = ["first_name", "last_name", "email", "is_active"]
        return [
            (None, {"fields": ["username"]}),
            (_("Person"), {"fields": person}),
        ]

    def find_hidden_columns(self, request, rows):
        hidden = set()
        if not is_active_superuser(request.user):
            hidden |= {"roles", "last_sign_in"}
        if all(user.is_active for user in rows):
            hidden.add("status")
        return hidden

    def prepare_rows(self, request, rows):
        counts = {}
        if is_active_superuser(request.user):
            counts = count_roles(rows)
        for user in rows:
            user.role_counts = counts.get(user.pk, NO_ROLES)

    @admin.display(description=_("Name"))
    def person(self, user):
        """Return the full name with the email address or username, or else the label.

        Many people on the site can have the same name, so the name alone is not enough.
        """
        full_name = user.get_full_name()
        if not full_name:
            return format_html("<bdi>{}</bdi>", user.label)
        return format_html(
            '<bdi>{}</bdi> <span class="address"><bdi>{}</bdi></span>',
            full_name,
            user.email or user.username,
        )

    @admin.display(description=_("Roles"))
    def roles(self, user):
        return render_roles(user, user.role_counts)

    @admin.display(description=_("Status"))
    def status(self, user):
        return render_status(user)

    @admin.display(description=_("Last sign-in"))
    def last_sign_in(self, user):
        if user.last_login is None:
            return _("Never")
        return show_day(user.last_login)

    def get_object(self, request, object_id, from_field=None):
        user = super().get_object(request, object_id, from_field)
        if user is not None:
            user.changed_by = request.user
        return user

    def changelist_view(self, request, extra_context=None):
        response = super().changelist_view(request, extra_context)
        if response.status_code == HTTPStatus.OK:
            record_people_viewed(request)
        return response

    def changeform_view(self, request, object_id=None, form_url="", extra_context=None):
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except REFUSALS as error:
            # Something changed after the form was validated.
            return self.respond_to_refusal(request, error)
        except membership.EndInThePast:
            return self.redirect_with_message(request, PAST_END, messages.ERROR)

    def save_model(self, request, obj, form, change):
        obj.changed_by = request.user
        obj.confirmed_organizations = getattr(form, "confirmed", ())
        if change and request.user.is_superuser:
            form.appoint_successors()
        super().save_model(request, obj, form, change)
        if not change and request.user.is_superuser:
            membership.change_roles(form.list_changes(), actor=request.user)
        if not change and obj.email and not obj.has_usable_password():
            self._send_first_link(request, obj)

    def response_add(self, request, obj, post_url_continue=None):
        """Redirect to the overview of the new person. Django would open their form."""
        return admin.ModelAdmin.response_add(self, request, obj, post_url_continue)

    def _send_first_link(self, request, user):
        try:
            request_password_link(user, actor=request.user)
        except TooManyLinks:
            self.message_user(request, TOO_MANY_LINKS % user.label, messages.WARNING)

    def user_change_password(self, request, id, form_url=""):
        """Set the password of someone else.

        Redirects people who want to change their own password to the page that asks
        for the old one. Raises `PermissionDenied` for everyone else except superusers.
        """
        if self.get_object(request, unquote(id)) == request.user:
            return redirect("admin:password_change")
        if not request.user.is_superuser:
            raise PermissionDenied
        try:
            return super().user_change_password(request, id, form_url)
        except CredentialsChanged:
            text = _(
                "The password was not set, because the account has changed or was"
                " deleted in the meantime. Try again."
            )
            url = reverse("admin:orgadmin_user_change", args=[unquote(id)])
            return self.redirect_with_message(request, text, messages.ERROR, to=url)

    @admin.action(permissions=["delete"], description=_("Offboard selected people…"))
    def offboard_selected(self, request, queryset):
        """Ask for confirmation before people lose all access, and who takes over.

        The action requires the permission to delete people, which only superusers have.
        """
        pks = list(queryset.values_list("pk", flat=True))
        if len(pks) == 1:
            return redirect("admin:orgadmin_user_leave", pks[0])
        names = "\n".join(f"#{pk}" for pk in pks)
        return self.show_end_form(request, people=names, what="offboard")

    @admin.action(
        permissions=["delete"],
        description=_("Remove second factor (for people who lost their phone)"),
    )
    def remove_second_factor(self, request, queryset):
        """Remove the second factors of people, so that a password is enough to sign in.

        The action asks for confirmation. It requires the permission to delete people,
        which only superusers have. It skips their own second factor, which they can
        remove on their account page. Returns None if there is nothing to ask about, so
        that Django shows the list again.
        """
        others = Authenticator.objects.exclude(user=request.user.pk)
        people = list(queryset.filter(pk__in=others.values("user")))
        if not people:
            text = _(
                "None of the people you selected has a second factor that you can"
                " remove."
            )
            self.message_user(request, text, messages.WARNING)
            return None
        if "post" not in request.POST:
            title = _("Remove the second factors of these people?")
            return self.render_page(
                request,
                obj=None,
                template="second_factor",
                title=title,
                people=people,
                is_action=True,
            )
        for user in people:
            self.remove_factors_of(request, user)
            text = _("%s can now sign in with their password alone.")
            self.message_user(request, text % user.label)
        return None

    def describe_choice(self, user):
        """Return a text that identifies a person in a list of choices.

        An address that is not confirmed is marked, because it may belong to someone
        else.
        """
        email = user.email
        if email and not user.has_verified_email:
            email = _("%s (not confirmed)") % email
        parts = [user.username, user.get_full_name(), email]
        return " · ".join(part for part in parts if part)

    def history_view(self, request, object_id, extra_context=None):
        if not request.user.is_superuser:
            # The history names organizations.
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        return super().history_view(request, object_id, extra_context)
