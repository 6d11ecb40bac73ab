"""The pages of people."""

from allauth.mfa.models import Authenticator
from django.contrib import admin, messages
from django.contrib.auth.admin import (
    UserAdmin as DjangoUserAdmin,
)
from django.db import transaction
from django.urls import reverse
from django.utils.translation import (
    gettext_lazy as _,
    gettext_noop,
)

from orgadmin.admin.changelist import get_page
from orgadmin.admin.forms import UserForm
from orgadmin.admin.gated import ActingDelete, SuperuserOnlyAdmin
from orgadmin.gate.answers import as_active, holds_more_than
from orgadmin.gate.explain import find_reasons, summarize_reasons
from orgadmin.models import Organization, User
from orgadmin.people import membership, offboarding
from orgadmin.people.changes import RoleChange


class PersonPages(ActingDelete):
    """Below a person, for superusers: what they can reach and why, and taking them out of everything."""

    def access_view(self, request, user):
        """What a person can see, and by which paths; as if active, where they are not."""
        page = get_page(request, Organization.objects.permitted(as_active(user)))
        reasons = find_reasons([user], page)
        for organization in page:
            organization.reasons = summarize_reasons(reasons[user.pk, organization.pk])
        return self.render_page(
            request, user, "access", _("What can “%s” see?") % user, page=page
        )

    def leave_view(self, request, user):
        """Take a person out of everything, after a preview of what ends."""
        page = reverse("admin:orgadmin_user_change", args=[user.pk])
        if user == request.user:
            text = _(
                "You cannot take yourself out of everything. Ask another superuser."
            )
            return self.answer(request, text, messages.ERROR, page)
        if "confirmed" in request.POST:
            offboarding.offboard(
                user, actor=request.user, reason=request.POST.get("reason", "")
            )
            self.log_change(
                request,
                user,
                gettext_noop("Was taken out of everything, and deactivated."),
            )
            text = (
                _(
                    "“%s” was taken out of everything, deactivated, and signed out everywhere."
                )
                % user
            )
            return self.answer(request, text, to=page)
        roles = membership.list_roles(user)
        orphaned = membership.find_losing_last_admin(
            [RoleChange(user, row.organization, None) for row in roles]
        )
        title = _("Take “%s” out of everything?") % user
        return self.render_page(
            request, user, "leave", title, roles=roles, orphaned=orphaned
        )


@admin.register(User)
class UserAdmin(PersonPages, SuperuserOnlyAdmin, DjangoUserAdmin):
    """People. Staff with the model-level permissions for users manage those who hold no more than they do.
    Roles and rights are given by superusers only; others see neither these nor the names of groups."""

    form = UserForm
    pages = {"access": None, "leave": None}
    actions = ["remove_second_factor"]
    list_filter = ["is_staff", "is_superuser", "is_active"]
    autocomplete_fields = ["groups"]
    readonly_fields = ["last_login", "date_joined"]

    def may(self, request, action, obj=None):
        user = request.user
        permissions = [
            f"orgadmin.view_{self.opts.model_name}",
            f"orgadmin.{action}_{self.opts.model_name}",
        ]
        delegated = (
            action != "delete" and user.is_staff and user.is_active
        )  # rights and the trail may go along
        return super().may(request, action) or delegated and user.has_perms(permissions)

    def has_change_permission(self, request, obj=None):
        return super().has_change_permission(request, obj) and (
            obj is None or not holds_more_than(obj, request.user)
        )

    def get_fieldsets(self, request, obj=None):
        if request.user.is_superuser or not obj:
            fieldsets = super().get_fieldsets(request, obj)
            return [*fieldsets, (None, {"fields": ["confirmed"]})] if obj else fieldsets
        person = {"fields": ["first_name", "last_name", "email", "is_active"]}
        return [(None, {"fields": ["username", "password"]}), (_("Person"), person)]

    @admin.action(
        permissions=["delete"],
        description=_("Remove the second factor, as of somebody who lost the phone"),
    )
    @transaction.atomic
    def remove_second_factor(self, request, queryset):
        """For superusers: user managers delete nobody. One's own takes a sign-in of now."""
        for user in queryset.filter(
            pk__in=Authenticator.objects.exclude(user=request.user.pk).values("user")
        ):
            user.authenticator_set.all().delete()
            self.log_change(request, user, gettext_noop("Removed the second factor."))
            self.message_user(request, _("The password alone signs %s in now.") % user)

    def describe_choice(self, user):
        """Say enough of a person to choose the right one."""
        return " · ".join(
            filter(None, [user.username, user.get_full_name(), user.email])
        )

    def history_view(self, request, object_id, extra_context=None):
        if not request.user.is_superuser:  # it names organizations
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        return super().history_view(request, object_id, extra_context)
