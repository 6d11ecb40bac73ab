"""The forms of the admin pages."""

from django import forms
from django.contrib.admin.widgets import AutocompleteSelect, AutocompleteSelectMultiple
from django.contrib.auth.forms import UserChangeForm
from django.db import IntegrityError
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from .membership import replace_roles, set_groups
from .models import Organization, OrganizationUserObjectPermission, User
from .roles import ROLES, ROLES_BY_KEY
from .transfer import FIELDS

NAMESAKES_SHOWN = 5


def is_key(text):
    """Tell whether text from outside can be a primary key at all: anything else breaks a query, not a rule."""
    return text.isascii() and text.isdigit() and len(text) < 19


class KeysOnly:
    """A widget that shows the objects chosen. Django's asks the database for whatever was sent."""

    def optgroups(self, name, value, attrs=None):
        return super().optgroups(name, [key for key in value if is_key(str(key))], attrs)

    def value_from_datadict(self, data, files, name):
        value = super().value_from_datadict(data, files, name)
        return [key for key in value if is_key(key)] if isinstance(value, list) else value


class ChooseOne(KeysOnly, AutocompleteSelect):
    pass


class ChooseMany(KeysOnly, AutocompleteSelectMultiple):
    pass


class RowsFormSet(forms.BaseInlineFormSet):
    """Rows in a page. A post that says nothing about them, as a script may send, changes none."""

    def __init__(self, data=None, *args, prefix=None, **kwargs):
        if data is not None and f"{prefix}-TOTAL_FORMS" not in data:
            data = {**data.dict(), f"{prefix}-TOTAL_FORMS": "0", f"{prefix}-INITIAL_FORMS": "0"}
        super().__init__(data, *args, prefix=prefix, **kwargs)


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
        fields = FIELDS

    def clean(self):
        cleaned = super().clean()
        name = cleaned.get("name")
        if self.instance.pk is None and name and cleaned.get("namesake") != name:
            namesakes = Organization.objects.permitted(self.user).filter(name__iexact=name)
            if count := namesakes.count():
                self._ask_about(name, namesakes[:NAMESAKES_SHOWN], count)
        return cleaned

    def clean_reference(self):
        return self.cleaned_data["reference"] or None  # empty is not a key that another could have too

    def _ask_about(self, name, namesakes, count):
        self.data = {**self.data.dict(), self.add_prefix("namesake"): name}
        links = format_html_join(
            ", ",
            '<a href="{}" target="_blank">{}</a>',
            (
                (reverse("admin:orgadmin_organization_change", args=[row.pk]), f"{row} ({row.reference or row.pk})")
                for row in namesakes
            ),
        )
        text = ngettext(
            "There is an organization with this name: {}. If yours is another one, save again.",
            "There are {count} organizations with this name: {}. If yours is another one, save again.",
            count,
        )
        self.add_error("name", format_html(text, links, count=count))


class UserForm(UserChangeForm):
    """Edit a person. Groups are saved through `membership`, which knows that a new role replaces the old one."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if field := self.fields.get("is_staff"):
            field.help_text = _("For platform staff only. Members of an organization's groups sign in without it.")

    def clean_groups(self):
        groups = self.cleaned_data["groups"]
        before = set(self.instance.groups.all()) if self.instance.pk else set()
        try:
            replace_roles(before, set(groups))
        except ValueError as error:
            names = ", ".join(str(organization) for organization in error.args[0])
            text = _("Choose one role in each organization: admin and reviewer cannot be combined in %(names)s.")
            raise forms.ValidationError(text, params={"names": names}) from error
        return groups

    def _save_m2m(self):
        groups = self.cleaned_data.pop("groups", None)
        super()._save_m2m()
        if groups is not None:
            try:
                set_groups(self.instance, groups)
            except ValueError as error:  # the role that one of them was to replace is gone since it was checked
                raise IntegrityError("Both roles are new.") from error


class AddMembersForm(forms.Form):
    """Choose people and the role that they get."""

    def __init__(self, data=None, *, admin_site):
        super().__init__(data)
        # The widget wants a field that points at people, to look up which admin page searches them.
        field = OrganizationUserObjectPermission._meta.get_field("user")
        self.fields["users"] = forms.ModelMultipleChoiceField(
            User.objects.order_by("username"),
            label=_("People"),
            widget=ChooseMany(field, admin_site),
            error_messages={"required": _("Choose at least one person.")},
        )
        self.fields["role"] = forms.TypedChoiceField(
            label=_("Role"),
            choices=[(role.key, role.label) for role in ROLES],
            coerce=ROLES_BY_KEY.get,
            widget=forms.RadioSelect,
            error_messages={"required": _("Choose a role.")},
        )
