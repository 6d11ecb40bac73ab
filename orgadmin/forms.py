"""The forms of the admin pages."""

from django import forms
from django.contrib.admin.widgets import AutocompleteSelectMultiple
from django.contrib.auth.forms import UserChangeForm
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from .membership import replace_roles
from .models import Organization, OrganizationUserObjectPermission, User
from .roles import ROLES


class OrganizationForm(forms.ModelForm):
    """Edit an organization. A class made for a request carries its `user`.

    Whoever creates one under a name that exists is told so, and saves again to confirm: they may see all of them.
    """

    website = forms.URLField(
        label=_("Website"), max_length=500, required=False, assume_scheme="https", widget=forms.URLInput
    )
    namesake = forms.CharField(required=False, widget=forms.HiddenInput)  # the name that was asked about

    user = None

    class Meta:
        model = Organization
        fields = ["name", "reference", "website", "email", "phone", "address", "tax_id", "notes"]

    def clean(self):
        cleaned = super().clean()
        name = cleaned.get("name")
        if self.instance.pk is None and name and cleaned.get("namesake") != name:
            namesakes = Organization.objects.permitted(self.user).filter(name=name)[:1]
            for organization in namesakes:
                self._ask_about(organization)
        return cleaned

    def clean_reference(self):
        return self.cleaned_data["reference"] or None  # empty is not a key that another could have too

    def _ask_about(self, organization):
        self.data = {**self.data.dict(), self.add_prefix("namesake"): organization.name}
        link = reverse("admin:orgadmin_organization_change", args=[organization.pk])
        text = _("There is an organization with this name: {}. If this is another one, save again to confirm.")
        self.add_error("name", format_html(text, format_html('<a href="{}">{}</a>', link, organization.name)))


class UserForm(UserChangeForm):
    """Edit a person. Somebody who becomes admin of an organization is no longer its reviewer, and the other way."""

    def clean_groups(self):
        groups = self.cleaned_data["groups"]
        before = set(self.instance.groups.all()) if self.instance.pk else set()
        try:
            return replace_roles(before, set(groups))
        except ValueError as error:
            names = ", ".join(str(organization) for organization in error.args[0])
            text = _("Choose one role in each organization: admin and reviewer cannot be combined in %(names)s.")
            raise forms.ValidationError(text, params={"names": names}) from error


class AddMembersForm(forms.Form):
    """Choose people and the role that they get."""

    def __init__(self, *args, admin_site, **kwargs):
        super().__init__(*args, **kwargs)
        # The widget wants a field that points at people, to look up which admin page searches them.
        field = OrganizationUserObjectPermission._meta.get_field("user")
        self.fields["users"] = forms.ModelMultipleChoiceField(
            User.objects.all(),
            label=_("People"),
            widget=AutocompleteSelectMultiple(field, admin_site),
            error_messages={"required": _("Choose at least one person.")},
        )
        self.fields["role"] = forms.TypedChoiceField(
            label=_("Role"),
            choices=[(role.key, role.label) for role in ROLES],
            coerce=lambda key: next(role for role in ROLES if role.key == key),
            widget=forms.RadioSelect,
            initial=ROLES[0].key,
        )
