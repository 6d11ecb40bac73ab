"""The forms that add a person with their first roles, or give a person a role."""

from dataclasses import dataclass
from datetime import datetime

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.forms import AdminUserCreationForm, UsernameField
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _, gettext_lazy

from orgadmin.access.roles import ROLES, ROLES_BY_KEY, Role, choose_default_role
from orgadmin.accounts.invited_people import choose_username
from orgadmin.admin.members.end_field import EndField, explain_day
from orgadmin.admin.widgets import ChooseOneWidget
from orgadmin.models import Contact, Organization, User
from orgadmin.models.user import EMAIL_TAKEN
from orgadmin.people.changes import MembershipEnd, RoleChange

# The number of roles that the form for a new person can give. More roles can be given
# later, on the person's Organizations page.
ROLE_ROWS = 3


@dataclass(frozen=True)
class NewRole:
    """A role that a form gives to a person."""

    organization: Organization
    role: Role
    ends_at: datetime | None

    def make_change(self, user):
        # If no day was chosen, a person who already has the role keeps their current
        # end.
        end = MembershipEnd(self.ends_at) if self.ends_at is not None else None
        return RoleChange(user, self.organization, self.role, end=end)


class OrganizationRoleForm(forms.Form):
    """Asks for an organization, a role in it, and the last day of the role.

    `user` is the superuser who fills in the form.
    """

    organization = forms.ModelChoiceField(
        label=gettext_lazy("Organization"),
        queryset=Organization.objects.none(),
        error_messages={
            "invalid_choice": gettext_lazy(
                "This organization no longer exists. Choose another one."
            ),
        },
    )
    role = forms.TypedChoiceField(
        label=gettext_lazy("Role"),
        coerce=ROLES_BY_KEY.get,
        choices=[(role.key, role.label) for role in ROLES],
        initial=choose_default_role,
    )
    ends_on = EndField()

    def __init__(self, *args, user, **kwargs):
        super().__init__(*args, **kwargs)
        field = self.fields["organization"]
        field.queryset = Organization.objects.permitted(user)
        # The widget finds the model to search through a relation. Any relation to
        # organizations works.
        relation = Contact._meta.get_field("organization")
        field.widget = ChooseOneWidget(relation, admin.site)
        field.widget.choices = field.choices

    def get_role(self):
        """Return the role that the form gives. The form must be valid."""
        values = self.cleaned_data
        return NewRole(values["organization"], values["role"], values["ends_on"])


class BaseRoleRows(forms.BaseFormSet):
    """Rows that each give a role. Rows without an organization are ignored."""

    def clean(self):
        chosen = set()
        for form in self.list_filled():
            organization = form.cleaned_data.get("organization")
            if organization in chosen:
                text = _("Choose one role in each organization.")
                form.add_error("organization", text)
            chosen.add(organization)

    @property
    def shown(self):
        return self.forms[:1]

    @property
    def others(self):
        """The rows that the page hides until the person opens them."""
        return self.forms[1:]

    @property
    def has_several(self):
        """Whether any of the rows that are hidden at first was filled in."""
        return any(form.has_changed() for form in self.others)

    def list_filled(self):
        return [form for form in self.forms if form["organization"].value()]

    def list_roles(self):
        """Return the roles that the rows give. The rows must be valid."""
        return [form.get_role() for form in self.list_filled()]


class RoleRow(OrganizationRoleForm):
    """A row that gives a role. The help text about the end is shown above all rows."""

    ends_on = EndField(help_text="")

    def has_changed(self):
        """Return whether the row was filled in. A chosen role alone does not count."""
        return bool(self["organization"].value()) or bool(self["ends_on"].value())


RoleRows = forms.formset_factory(RoleRow, BaseRoleRows, extra=ROLE_ROWS)


class NamedByEmail:
    """Makes a username from the email address if the form does not contain a username.

    This is a base class for forms that add people. `user` is the person who fills in
    the form.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        username = self.fields["username"]
        username.required = False
        username.widget.attrs.pop("autofocus", None)
        username.help_text = _("Leave it empty to use the email address.")
        self.fields["email"].help_text = _(
            "We send a link to choose a password to this address."
        )

    def clean_email(self):
        email = self.cleaned_data["email"]
        if email:
            owner = User.objects.find_by_email(email)
            if owner is not None:
                raise forms.ValidationError(self._explain_taken_email(owner))
        return email

    def _explain_taken_email(self, owner):
        """Return the error about an address that another person has.

        The error links to this person if the user can view people.
        """
        if not self.user.has_perm("orgadmin.view_user"):
            return EMAIL_TAKEN
        url = reverse("admin:orgadmin_user_overview", args=[owner.pk])
        link = format_html('<a href="{}"><bdi>{}</bdi></a>', url, owner.label)
        return format_html("{} {}", _("This person already has an account:"), link)

    def clean(self):
        cleaned = super().clean()
        if cleaned is None:
            cleaned = self.cleaned_data
        if not cleaned.get("username") and "username" not in self.errors:
            email = cleaned.get("email")
            if email:
                cleaned["username"] = choose_username(email)
            elif "email" not in self.errors:
                self.add_error("email", _("Enter the email address of the person."))
        return cleaned


class NewPersonForm(NamedByEmail, forms.ModelForm):
    """Adds a person without a password. This form is for users who are not superusers.

    The new person gets an email with a link to choose a password.
    """

    class Meta:
        model = User
        fields = ["email", "first_name", "last_name", "username"]
        field_classes = {"username": UsernameField}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["email"].help_text = _(
            "We send a link to choose a password to this address. Check it: only a"
            " superuser can change it later."
        )

    def save(self, commit=True):
        self.instance.set_unusable_password()
        return super().save(commit)


class AddPersonForm(NamedByEmail, AdminUserCreationForm):
    """Adds a person with their first roles. This form is for superusers.

    If the form does not set a password, the new person gets an email with a link to
    choose one.
    """

    # Removes Django's field that disables the password. Leaving the password fields
    # empty has this effect.
    usable_password = None

    language = forms.ChoiceField(
        label=gettext_lazy("Language"),
        required=False,
        help_text=gettext_lazy("For pages and emails. The person can change it."),
    )

    class Meta(AdminUserCreationForm.Meta):
        model = User
        fields = ["email", "first_name", "last_name", "language", "username"]
        field_classes = {"username": UsernameField}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.role_rows = RoleRows(
            self.data if self.is_bound else None,
            prefix="roles",
            form_kwargs={"user": self.user},
        )
        self.fields["email"].widget.attrs["autofocus"] = True
        self.fields["language"].choices = [
            ("", _("The language of their browser")),
            *settings.LANGUAGES,
        ]

    @property
    def media(self):
        return super().media + self.role_rows.media

    @property
    def help_of_roles(self):
        return explain_day()

    def clean(self):
        cleaned = super().clean()
        has_rows = f"roles-{forms.formsets.TOTAL_FORM_COUNT}" in self.data
        if has_rows and not self.role_rows.is_valid():
            text = _("Correct the roles below.")
            self.add_error(None, text)
        return cleaned

    def validate_passwords(self, *args, **kwargs):
        """Accept empty passwords if there is an address to which a link can be sent."""
        has_password = any(self.data.get(name) for name in ("password1", "password2"))
        needs_none = bool(self.cleaned_data.get("email")) and not has_password
        if needs_none:
            self.cleaned_data["usable_password"] = "false"
        super().validate_passwords(*args, **kwargs)

    def list_changes(self):
        """Return the changes that give the new person their roles.

        Returns [] if the form was sent without roles, or if they are invalid.
        """
        if not self.role_rows.is_bound or not self.role_rows.is_valid():
            return []
        return [row.make_change(self.instance) for row in self.role_rows.list_roles()]
