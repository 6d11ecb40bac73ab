"""The forms of the pages about an organization's people."""

from django import forms
from django.contrib import admin
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orgadmin.access.roles import ROLES, ROLES_BY_KEY
from orgadmin.admin.widgets import ChooseManyWidget
from orgadmin.models import (
    Invitation,
    MembershipEvent,
    OrganizationUserObjectPermission,
    User,
)
from orgadmin.people.membership import may_assign


class RoleForm(forms.Form):
    """Choose a role.

    `permissions` are the permissions on the organization of the person who fills in the
    form. The choices are the roles that they allow this person to assign.
    """

    role = forms.TypedChoiceField(
        label=_("Role"),
        coerce=ROLES_BY_KEY.get,
        widget=forms.RadioSelect,
        error_messages={
            "required": _("Choose a role."),
            "invalid_choice": _("You cannot assign this role. Choose another one."),
        },
    )

    def __init__(self, data=None, *, permissions):
        super().__init__(data)
        self.fields["role"].choices = [
            (role.key, role.label) for role in ROLES if may_assign(permissions, role)
        ]


class AddMembersForm(RoleForm):
    """Give people who have an account a role."""

    prefix = "add"
    field_order = ["users", "role"]

    users = forms.ModelMultipleChoiceField(
        User.objects.order_by("username"),
        label=_("People"),
        # The widget takes a foreign key, and searches the model that it leads to. Any
        # foreign key to User works.
        widget=ChooseManyWidget(
            OrganizationUserObjectPermission._meta.get_field("user"), admin.site
        ),
        error_messages={"required": _("Choose at least one person.")},
        help_text=_(
            "Search by username, name or email. People with another role here will be"
            " switched to this one."
        ),
    )


class InviteForm(RoleForm):
    """Invite someone by email, whether they have an account or not."""

    prefix = "invite"
    field_order = ["email", "role"]

    email = Invitation._meta.get_field("email").formfield(
        help_text=_(
            "We send this person an email with a link. They have access once they"
            " accept the invitation."
        )
    )


class ReasonForm(forms.Form):
    """Say why people lose access or get another role. The membership log keeps it."""

    reason = MembershipEvent._meta.get_field("reason").formfield(
        label=_("Reason (optional):"),
        widget=forms.TextInput({"class": "vTextField"}),
    )


class MembersOnForm(forms.Form):
    """Choose a date, for which the membership log then shows the members."""

    on = forms.DateField(
        label=_("Members on"),
        required=False,
        widget=forms.DateInput({"type": "date"}),
    )

    def clean_on(self):
        on = self.cleaned_data["on"]
        # A day is that of the site, so that everyone gets the same answer.
        today = timezone.localdate(timezone=timezone.get_default_timezone())
        if on is not None and on > today:
            raise forms.ValidationError(
                _("This day is in the future. Choose today or an earlier day.")
            )
        return on
