"""The forms of the pages about an organization's people."""

from django import forms
from django.utils.translation import gettext_lazy as _, ngettext

from orgadmin.access.roles import ROLES, ROLES_BY_KEY, choose_default_role
from orgadmin.accounts.widgets import RoleSelect
from orgadmin.admin.members.end_field import EndField
from orgadmin.admin.quotes import list_quoted, quote
from orgadmin.admin.widgets import DayInput
from orgadmin.models import Invitation, MembershipEvent
from orgadmin.models.addresses import fold_email, is_same_email
from orgadmin.people.ends import find_today
from orgadmin.people.find_people import (
    NamedPeople,
    find_named,
    is_address,
    split_names,
)
from orgadmin.people.membership import find_members, may_assign

# The maximum number of people who can be added at once.
MAX_NAMES = 50

# The maximum length of a field with their names, in characters.
MAX_NAMES_LENGTH = 20_000


class RoleForm(forms.Form):
    """Asks for a role.

    `permissions` are the permissions that the person who fills in the form has on the
    organization. The form offers the roles that these permissions allow them to assign.
    """

    role = forms.TypedChoiceField(
        label=_("Role"),
        coerce=ROLES_BY_KEY.get,
        widget=RoleSelect,
        error_messages={
            "required": _("Choose a role."),
            "invalid_choice": _("You cannot assign this role. Choose another one."),
        },
    )

    def __init__(self, data=None, *, permissions):
        super().__init__(data)
        roles = [role for role in ROLES if may_assign(permissions, role)]
        self.fields["role"].choices = [(role.key, role.label) for role in roles]
        self.default_role = choose_default_role(roles)


class AddPeopleForm(RoleForm):
    """Asks for people and the role that they get.

    People with a known account get the role at once. Others are invited. `actor` is the
    person who fills in the form. After `is_valid()`, `people` are the people who were
    entered.
    """

    prefix = "add"
    field_order = ["who", "several", "role", "ends_on"]

    # The name of the field that shows errors about the names.
    error_field = "who"

    who = forms.CharField(
        label=_("Name or email address"),
        required=False,
        max_length=MAX_NAMES_LENGTH,
        help_text=_(
            "We send an invitation to an email address. You can also enter the username"
            " of someone from another organization that you manage: they get the role"
            " at once."
        ),
        widget=forms.TextInput(
            {
                "class": "vTextField",
                "autocomplete": "off",
                "autocapitalize": "off",
                "spellcheck": "false",
            }
        ),
    )
    several = forms.CharField(
        label=_("Names or email addresses"),
        required=False,
        max_length=MAX_NAMES_LENGTH,
        widget=forms.Textarea({"rows": 5, "spellcheck": "false"}),
        help_text=_("One on each line, or separated by commas."),
    )
    ends_on = EndField()

    def __init__(self, data=None, *, permissions, actor):
        super().__init__(data, permissions=permissions)
        self.actor = actor
        self.people = NamedPeople()
        if actor.is_superuser:
            self.fields["who"].help_text = _(
                "People who have an account get the role at once. Anyone else gets an"
                " invitation by email."
            )
        self.initial["role"] = self.default_role

    def clean(self):
        cleaned = super().clean()
        if cleaned.get("several"):
            self.error_field = "several"
        names = split_names(f"{cleaned.get('who', '')}\n{cleaned.get('several', '')}")
        if not names and not self.errors:
            self.add_error("who", _("Enter a name or an email address."))
        if len(names) > MAX_NAMES:
            text = _("Enter at most %d people at once.") % MAX_NAMES
            self.add_error(self.error_field, text)
            return cleaned
        names = [self._clean_address(name) for name in names]
        if not self.errors:
            self._find_people(names)
        return cleaned

    def _clean_address(self, name):
        """Return a name. If it is an email address, validate and normalize it."""
        if not is_address(name):
            return name
        field = Invitation._meta.get_field("email").formfield()
        try:
            return field.clean(name)
        except forms.ValidationError as error:
            reasons = " ".join(error.messages)
            text = f"{quote(name)}{_(':')} {reasons}"
            self.add_error(self.error_field, text)
            return name

    def _find_people(self, names):
        """Set `people`, and add an error if any of the names are unknown."""
        self.people = find_named(names, actor=self.actor)
        unknown = self.people.unknown
        if not unknown:
            return
        if self.actor.is_superuser:
            text = ngettext(
                "Nobody has the username %s. To invite someone, enter their email"
                " address.",
                "Nobody has one of these usernames: %s. To invite someone, enter their"
                " email address.",
                len(unknown),
            )
        else:
            # The message must not reveal whether the person exists, because the actor
            # is not allowed to know everyone.
            text = ngettext(
                "Nobody in your organizations has the username %s. To invite someone,"
                " enter their email address.",
                "Nobody in your organizations has one of these usernames: %s. To invite"
                " someone, enter their email address.",
                len(unknown),
            )
        self.add_error(self.error_field, text % list_quoted(unknown))


class CorrectAddressForm(forms.Form):
    """Asks for the correct address of an open invitation, which is then sent there."""

    email = Invitation._meta.get_field("email").formfield(
        label=_("Email address"),
        widget=forms.EmailInput(
            {"class": "vTextField", "autocomplete": "off", "spellcheck": "false"}
        ),
    )

    def __init__(self, data=None, *, invitation):
        super().__init__(data, initial={"email": invitation.email})
        self.invitation = invitation

    def clean_email(self):
        email = fold_email(self.cleaned_data["email"])
        organization = self.invitation.organization
        if is_same_email(email, self.invitation.email):
            raise forms.ValidationError(
                _("The invitation was sent to this address. Enter another one.")
            )
        if find_members(organization, [email]):
            text = _("This person is already a member of %s.")
            raise forms.ValidationError(text % quote(organization))
        return email


class NewRoleForm(RoleForm):
    """Asks for the new role of a member, and the last day of their access.

    The current role is not offered. `ends_at` is the current end of the membership.
    """

    ends_on = EndField()

    def __init__(self, data=None, *, permissions, current, ends_at=None):
        super().__init__(data, permissions=permissions)
        self.initial["ends_on"] = ends_at
        choices = [
            (key, label)
            for key, label in self.fields["role"].choices
            if key != current.key
        ]
        self.fields["role"].choices = choices
        if len(choices) == 1:
            self.initial["role"] = choices[0][0]


class ReasonForm(forms.Form):
    """Asks why people lose access or get another role.

    The reason is stored in the membership log.
    """

    reason = MembershipEvent._meta.get_field("reason").formfield(
        label=_("Reason (optional):"),
        widget=forms.TextInput({"class": "vTextField"}),
    )


class MembersOnForm(forms.Form):
    """Asks for a date. The membership log then shows the members on that date."""

    on = forms.DateField(
        label=_("Members on"),
        required=False,
        widget=DayInput,
    )

    def clean_on(self):
        on = self.cleaned_data["on"]
        if on is not None and on > find_today():
            raise forms.ValidationError(
                _("This day is in the future. Choose today or an earlier day.")
            )
        return on
