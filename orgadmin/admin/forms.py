"""The forms of the admin."""

import base64
from contextlib import suppress

from django import forms
from django.contrib import admin
from django.contrib.auth.forms import UserChangeForm
from django.db import IntegrityError
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _

from orgadmin.access.roles import ROLES, ROLES_BY_KEY
from orgadmin.admin.widgets import ChooseManyWidget
from orgadmin.models import (
    Invitation,
    Organization,
    OrganizationUserObjectPermission,
    User,
)
from orgadmin.models.validators import is_primary_key
from orgadmin.people.changes import RoleChange
from orgadmin.people.membership import (
    AmbiguousRoles,
    choose_roles,
    find_losing_last_admin,
    may_assign,
    set_groups,
)
from orgadmin.records.columns import FIELDS
from orgadmin.records.history import find_author

NAMESAKES_SHOWN = 5


class RowsFormSet(forms.BaseInlineFormSet):
    """Rows in a page. A post that says nothing about them, as a script may send, changes none."""

    def __init__(self, data=None, *args, prefix=None, **kwargs):
        if data is not None and f"{prefix}-TOTAL_FORMS" not in data:
            data = {
                **data.dict(),
                f"{prefix}-TOTAL_FORMS": "0",
                f"{prefix}-INITIAL_FORMS": "0",
            }
        super().__init__(data, *args, prefix=prefix, **kwargs)

    def add_fields(self, form, index):
        super().add_fields(form, index)
        form.fields[
            self._pk_field.name
        ].to_python = self._find  # Django's asks the database for each, whosever it is

    def _find(self, key):
        row = self._existing_object(int(key)) if is_primary_key(key or "") else None
        if key and row is None:
            raise forms.ValidationError(_("There is no such row."))
        return row

    def clean(self):
        super().clean()
        if any(
            self._pk_field.name in errors for errors in self.errors
        ):  # hidden: nobody would see why
            raise forms.ValidationError(
                _("A row was deleted meanwhile. Load the page again.")
            )


class MergingForm(forms.ModelForm):
    """Saves what a person changed of what they saw, which the page carries along; else of what is stored. What somebody
    else changed meanwhile is kept, and `merged` names it; where both changed a field, saving again decides."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            if (
                self.instance.pk
                and name in self.initial
                and isinstance(field, forms.CharField)
            ):
                field.show_hidden_initial = (
                    not self.is_bound or self.add_initial_prefix(name) in self.data
                )

    def clean(self):
        cleaned, self.merged = super().clean(), []
        for name, field in self.fields.items():
            seen, stored = (
                self.add_initial_prefix(name),
                self.get_initial_for_field(field, name) or "",
            )
            if (
                not field.show_hidden_initial
                or self.data[seen].split() == stored.split()
            ):
                continue
            if name not in self.changed_data:
                cleaned[name] = stored or field.empty_value
                self.merged.append(str(field.label))
            elif name in cleaned and (cleaned[name] or "") != stored:
                self.data = self.data.copy()
                self.data[seen] = stored
                text = _(
                    "%(who)s changed this to “%(stored)s” after you opened the page. Save again to write yours."
                )
                told = isinstance(self.instance, Organization)  # others have no history
                who = (
                    find_author(self.instance, name, self.user)
                    if told
                    else _("Somebody")
                )
                self.add_error(name, text % {"who": who, "stored": stored})
        return cleaned


class OrganizationForm(MergingForm):
    """Edit an organization. A class made for a request carries its `user`.
    Whoever creates one under a name that exists is told so, and saves again to confirm: they may see all of them."""

    options = {
        "label": _("Website"),
        "assume_scheme": "https",
        "widget": forms.URLInput({"class": "vURLField"}),
    }
    website = Organization._meta.get_field("website").formfield(**options)
    namesake = forms.CharField(
        required=False, widget=forms.HiddenInput
    )  # the name that was asked about

    class Meta:
        model = Organization
        fields = FIELDS
        help_texts = {
            "name": _(
                "As it should be found. A new name also renames the groups of its people."
            ),
            "email": _(
                "Where the organization itself reads its mail. People go below, under contacts."
            ),
            "phone": _("With the country code, such as +49 30 1234567."),
            "address": _("As it would stand on an envelope."),
        }

    def clean_name(self):
        name, asked = self.cleaned_data["name"], self.add_prefix("namesake")
        if self.instance.pk is not None or self.data.get(asked) == name:
            return name
        if namesakes := Organization.objects.permitted(self.user).filter(
            name__iexact=name
        )[:NAMESAKES_SHOWN]:
            self.data, page = (
                {**self.data.dict(), asked: name},
                "admin:orgadmin_organization_change",
            )
            names = [
                (reverse(page, args=[row.pk]), f"{row} ({row.reference or row.pk})")
                for row in namesakes
            ]
            links = format_html_join(", ", '<a href="{}" target="_blank">{}</a>', names)
            text = _(
                "Organizations have this name already, such as {}. If yours is another one, save again."
            )
            raise forms.ValidationError(format_html(text, links))
        return name


class UserForm(UserChangeForm):
    """Edit a person; groups are saved through `membership`. A class made for a request carries its `user`."""

    confirmed = forms.CharField(
        required=False, widget=forms.HiddenInput
    )  # the organizations that were asked about

    class Meta(UserChangeForm.Meta):
        help_texts = {
            "is_staff": _(
                "For platform staff only. Members of an organization's groups sign in without it."
            )
        }

    def clean_groups(self):
        groups = self.cleaned_data["groups"]
        before = set(self.instance.groups.all()) if self.instance.pk else set()
        try:
            roles = choose_roles(before, set(groups))
        except AmbiguousRoles as error:
            names = ", ".join(str(row) for row in error.organizations)
            text = _(
                "Choose one role in each organization: admin and reviewer cannot be combined in %(names)s."
            )
            raise forms.ValidationError(text, params={"names": names}) from error
        orphans = find_losing_last_admin(
            [RoleChange(self.instance, row.organization, row.role) for row in roles]
        )
        names = ", ".join(
            f"“{organization}” ({organization.pk})" for organization in orphans
        )
        if (
            orphans and self.data.get("confirmed", "").split() != names.split()
        ):  # browsers change the ends of lines
            self.data = self.data.copy()
            self.data["confirmed"] = names
            raise forms.ValidationError(
                _("Nobody would be left to look after %s. Save again to confirm.")
                % names
            )
        return groups

    def _save_m2m(self):
        groups = self.cleaned_data.pop("groups", None)
        super()._save_m2m()
        if groups is not None:
            try:
                set_groups(self.instance, groups, actor=self.user)
            except AmbiguousRoles as error:  # the role that one of them was to replace is gone since it was checked
                raise IntegrityError("Both roles are new.") from error


class RoleForm(forms.Form):
    """Choose a role, of those that somebody with `rights` on the organization may give."""

    def __init__(self, data=None, *, rights):
        super().__init__(data)
        errors = {
            "required": _("Choose a role."),
            "invalid_choice": _("You may not give this role. Choose another."),
        }
        choices = [(role.key, role.label) for role in ROLES if may_assign(rights, role)]
        options = {
            "choices": choices,
            "coerce": ROLES_BY_KEY.get,
            "widget": forms.RadioSelect,
        }
        self.fields["role"] = forms.TypedChoiceField(
            label=_("Role"), error_messages=errors, **options
        )


class AddMembersForm(RoleForm):
    prefix = "add"
    users = forms.ModelMultipleChoiceField(
        User.objects.order_by("username"),
        label=_("People"),
        # The widget wants a field that points at people, to look up which admin page searches them.
        widget=ChooseManyWidget(
            OrganizationUserObjectPermission._meta.get_field("user"), admin.site
        ),
        error_messages={"required": _("Choose at least one person.")},
        help_text=_(
            "Search by user name, name or e-mail. Who has another role here gets this one instead."
        ),
    )


class InviteForm(RoleForm):
    prefix = "invite"
    hint = _(
        "The person gets a mail with a link, and has access once they open it and accept."
    )
    email = Invitation._meta.get_field("email").formfield(help_text=hint)


class OnForm(forms.Form):
    on = forms.DateField(
        label=_("Members on"), required=False, widget=forms.DateInput({"type": "date"})
    )


LINES, SIZE = (
    2_000,
    1_500_000,
)  # of a file in the browser; as text in a page it is under 2.5 MB


class ImportForm(forms.Form):
    file = forms.FileField(label=_("CSV file"), required=False)
    text = forms.CharField(required=False, widget=forms.HiddenInput, strip=False)
    hint = _("Invite addresses that nobody has yet. Without, they are refused.")
    send_mail = forms.BooleanField(label=_("Send mail"), required=False, help_text=hint)

    def clean(self):
        cleaned = super().clean()
        content = file.read() if (file := cleaned.get("file")) else b""
        with suppress(
            ValueError
        ):  # the text goes through the page as base64, as browsers change the ends of lines
            content = content or base64.b64decode(
                cleaned.get("text", ""), validate=True
            )
        if not content:
            self.add_error("file", _("Choose a file."))
        elif content.count(b"\n") > LINES + 1 or len(content) > SIZE:
            text = _(
                "The file has more than %d lines, or 1.5 MB. Use “manage.py import_organizations”, or parts."
            )
            self.add_error("file", text % LINES)
        return cleaned | {"content": content}
