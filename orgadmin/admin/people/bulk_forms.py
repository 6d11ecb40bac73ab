"""The forms of the pages that change many roles at once."""

from collections.abc import Callable, Iterable
from typing import Any

from django import forms
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _, ngettext

from orgadmin.access.roles import ROLES, ROLES_BY_KEY, choose_default_role
from orgadmin.admin.members.end_field import EndField
from orgadmin.admin.members.forms import ReasonForm, RoleSelect
from orgadmin.admin.quotes import quote
from orgadmin.admin.successors import describe_naming
from orgadmin.models import Invitation, Organization, User
from orgadmin.models.addresses import fold_email
from orgadmin.models.validators import is_primary_key
from orgadmin.people.bulk import (
    INVITED_AT_ONCE,
    LIMIT,
    OFFBOARDED_AT_ONCE,
    BulkChange,
    EndAccess,
    GiveRole,
    ReplacePerson,
)
from orgadmin.people.find_organizations import (
    COLUMNS,
    OrganizationNaming,
    identify_organizations,
    split_lines,
)
from orgadmin.people.find_people import Naming, identify, is_address, split_names

# The maximum number of names that can be entered.
MAX_NAMES = 5_000

# The maximum length of a field with names, in characters.
MAX_NAMES_LENGTH = 500_000

# The maximum number of unclear names that a page lists. Further names are counted.
PROBLEMS_SHOWN = 100


def make_name_field(label: Any, **options: Any) -> forms.CharField:
    """Return a field in which one person is named. suggest.js suggests people."""
    widget = forms.TextInput(
        {
            "class": "vTextField",
            "autocomplete": "off",
            "autocapitalize": "off",
            "spellcheck": "false",
            "data-suggest": reverse_lazy("admin:orgadmin_user_suggest"),
        }
    )
    return forms.CharField(label=label, max_length=254, widget=widget, **options)


def make_names_field(label: Any, help_text: Any, **options: Any) -> forms.CharField:
    return forms.CharField(
        label=label,
        help_text=help_text,
        max_length=MAX_NAMES_LENGTH,
        widget=forms.Textarea({"rows": 5, "spellcheck": "false"}),
        **options,
    )


class ChoiceSelect(forms.RadioSelect):
    """Radio buttons with a description for each choice, for role_choices.html.

    `descriptions` is {value of the choice: text}.
    """

    def __init__(self, descriptions: dict[str, Any]) -> None:
        super().__init__()
        self.descriptions = descriptions

    def create_option(self, name, value, label, *args, **kwargs):
        option = super().create_option(name, value, label, *args, **kwargs)
        option["description"] = self.descriptions[value]
        option["attrs"]["aria-describedby"] = f"{option['attrs']['id']}_description"
        return option


class BulkForm(ReasonForm):
    """A form that asks which roles to change.

    After `is_valid()`, `change` is the change to make. `problems` contains a text about
    each unclear name. The form is only valid if there are none, or if the person ticks
    that unclear names are left out.
    """

    leave_out = forms.BooleanField(
        label=_("Leave out these names"),
        required=False,
    )

    def __init__(self, data: Any = None, *, actor: User) -> None:
        super().__init__(data)
        self.actor = actor
        self.problems: list[str] = []
        self.left_out: list[str] = []
        self.emails: list[str] = []
        self.change: BulkChange | None = None

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        self.change = self.make_change()
        if self.problems and not cleaned["leave_out"]:
            text = ngettext(
                "%d name is not clear. Correct it, or leave it out.",
                "%d names are not clear. Correct them, or leave them out.",
                len(self.problems),
            )
            raise forms.ValidationError(text % len(self.problems))
        if self.change is None and not self.errors:
            raise forms.ValidationError(_("There is nothing left to change."))
        return cleaned

    def make_change(self) -> BulkChange | None:
        """Return the change, or None if nothing can be changed.

        Adds errors to the form, and texts to `problems`.
        """
        raise NotImplementedError

    @property
    def problems_shown(self) -> list[str]:
        return self.problems[:PROBLEMS_SHOWN]

    def find_people(self, field: str, names: Iterable[str]) -> list[User]:
        """Return the people with these names, each of them once.

        Appends to `emails` the addresses that get an invitation. Appends to `left_out`
        the names that cannot be used, and to `problems` the reason for each. If there
        are too many names, adds an error to the field and returns [].
        """
        names = list(names)
        if self._has_too_many(field, names):
            return []
        found = []
        for naming in identify(names).values():
            email = self.find_address_to_invite(naming)
            if email:
                self.emails.append(email)
                continue
            objection = self.find_objection(naming)
            if naming.user is not None and not objection:
                found.append(naming.user)
            else:
                self.problems.append(objection)
                self.left_out.append(naming.name)
        return list(dict.fromkeys(found))

    def find_person(self, field: str) -> User | None:
        """Return the person named in a field.

        If there is no such person, adds an error to the field, and returns None.
        """
        [naming] = identify([self.cleaned_data[field].strip()]).values()
        if naming.user is None:
            self.add_error(field, describe_naming(naming))
        return naming.user

    def find_address_to_invite(self, naming: Naming) -> str:
        """Return the address to invite if no account has it, or ""."""
        return ""

    def find_objection(self, naming: Naming) -> str:
        """Return why a name cannot be used, or ""."""
        return describe_naming(naming) if naming.user is None else ""

    def _has_too_many(self, field: str, names: list[str]) -> bool:
        if len(names) <= MAX_NAMES:
            return False
        text = _("Enter at most %d names at once.") % MAX_NAMES
        self.add_error(field, text)
        return True


class GiveRoleForm(BulkForm):
    """Gives one or several people a role in many organizations.

    The organizations come from one of these fields:

    - `listed` is the query string of a list, such as "?q=acme". It means all
      organizations of the list, which `find_listed` returns.
    - `chosen` contains the IDs of organizations that were selected, such as "3 17".
    - `places` contains the names of organizations.
    """

    field_order = ["who", "several", "places", "role", "until", "reason"]

    who = make_name_field(_("Person"), required=False)
    several = make_names_field(
        _("Usernames or email addresses"),
        _(
            "One on each line, or separated by commas. Addresses without an account get"
            " an invitation."
        ),
        required=False,
    )
    places = make_names_field(
        _("Organizations"),
        _("One on each line: a reference, a name, or a number such as 17 or #17."),
        required=False,
    )
    role = forms.TypedChoiceField(
        label=_("Role"),
        coerce=ROLES_BY_KEY.get,
        choices=[(role.key, role.label) for role in ROLES],
        widget=RoleSelect,
        error_messages={"required": _("Choose a role.")},
    )
    until = EndField(help_text=_("The last day of access. Leave it empty for no end."))
    listed = forms.CharField(required=False, widget=forms.HiddenInput)
    chosen = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(
        self,
        data: Any = None,
        *,
        actor: User,
        find_listed: Callable[[str], Any],
        initial: dict[str, str] | None = None,
    ) -> None:
        """`find_listed` returns the organizations of a list with a query string.

        If the organizations come from the list, the form has no field for them.
        """
        super().__init__(data, actor=actor)
        self.find_listed = find_listed
        self.initial = {"role": choose_default_role(), **(initial or {})}
        if self.is_from_list:
            del self.fields["places"]

    def _get_value(self, name: str) -> str:
        if self.is_bound:
            return self.data.get(name, "")
        return self.initial.get(name, "")

    @property
    def is_from_list(self) -> bool:
        """Whether the organizations were chosen in the list of organizations."""
        return bool(self._get_value("listed") or self._get_value("chosen"))

    def list_organizations(self) -> Any:
        """Return up to LIMIT + 1 of the organizations that were chosen in the list."""
        if self._get_value("listed"):
            rows = self.find_listed(self._get_value("listed").removeprefix("?"))
        else:
            keys = self._get_value("chosen").split()
            pks = [int(key) for key in keys if is_primary_key(key)]
            rows = Organization.objects.permitted(self.actor).filter(pk__in=pks)
        return rows.only(*COLUMNS)[: LIMIT + 1]

    def make_change(self) -> BulkChange | None:
        cleaned = self.cleaned_data
        names = split_names(cleaned["several"])
        if cleaned["who"].strip():
            names.insert(0, cleaned["who"].strip())
        if not names:
            self.add_error("who", _("Enter a username or an email address."))
        users = self.find_people("several", names)
        organizations = self._find_organizations()
        if not organizations and not self.problems and "places" not in self.errors:
            text = _("Enter at least one organization.")
            self.add_error(None if self.is_from_list else "places", text)
        number = len(self.emails) * len(organizations)
        if number > INVITED_AT_ONCE:
            text = _(
                "%(number)d invitations would be sent. You can send at most %(limit)d"
                " at once."
            )
            numbers = {"number": number, "limit": INVITED_AT_ONCE}
            self.add_error("several", text % numbers)
        if not (users or self.emails) or not organizations:
            return None
        return GiveRole(
            users,
            organizations,
            cleaned["role"],
            cleaned["until"],
            tuple(dict.fromkeys(self.emails)),
        )

    def find_address_to_invite(self, naming: Naming) -> str:
        if naming.candidates or not is_address(naming.name):
            return ""
        field = Invitation._meta.get_field("email").formfield()
        try:
            return fold_email(field.clean(naming.name))
        except forms.ValidationError:
            return ""

    def _find_organizations(self) -> list[Organization]:
        if self.is_from_list:
            return list(self.list_organizations())
        names = split_lines(self.cleaned_data["places"])
        if self._has_too_many("places", names):
            return []
        found = []
        for naming in identify_organizations(names, actor=self.actor).values():
            if naming.organization is not None:
                found.append(naming.organization)
            else:
                self.problems.append(describe_organization_naming(naming))
                self.left_out.append(naming.name)
        return list(dict.fromkeys(found))

    def find_objection(self, naming: Naming) -> str:
        user = naming.user
        if user is not None and not user.is_active:
            return _("The account of %s is inactive.") % quote(user.label)
        return super().find_objection(naming)


class ReplacePersonForm(BulkForm):
    """Gives all roles of one person to another person."""

    field_order = ["old", "new", "ends", "reason"]

    old = make_name_field(_("Person to replace"))
    new = make_name_field(_("Person who takes over"))
    ends = forms.ChoiceField(
        label=_("Roles of the person to replace"),
        choices=[("end", _("End")), ("stay", _("Stay"))],
        widget=ChoiceSelect(
            {
                "end": _("They lose these roles at the same moment."),
                "stay": _("Both have these roles."),
            }
        ),
        error_messages={"required": _("Choose whether the roles end or stay.")},
    )

    def make_change(self) -> BulkChange | None:
        old = self.find_person("old")
        new = self.find_person("new")
        if old is None or new is None:
            return None
        if old == new:
            self.add_error("new", _("Enter someone else."))
        if not new.is_active:
            text = _("The account of %s is inactive.") % quote(new.label)
            self.add_error("new", text)
        return ReplacePerson(old, new, self.cleaned_data["ends"] == "end")


class EndAccessForm(BulkForm):
    """Ends the access of several people."""

    field_order = ["people", "what", "until", "reason"]

    people = make_names_field(
        _("People"),
        _(
            "One on each line, or separated by commas: a username, a confirmed email"
            " address, or a number such as #17."
        ),
    )
    what = forms.ChoiceField(
        label=_("What ends"),
        choices=[("offboard", _("All access")), ("roles", _("Roles only"))],
        widget=ChoiceSelect(
            {
                "offboard": _(
                    "They are offboarded: they lose all roles, groups, permissions and"
                    " staff status, their accounts are deactivated, and they are signed"
                    " out everywhere."
                ),
                "roles": _(
                    "They lose their roles in all organizations. Their accounts, other"
                    " permissions and staff status stay."
                ),
            }
        ),
        error_messages={"required": _("Choose what ends.")},
    )

    until = EndField(
        help_text=_(
            "If only roles end: their last day. Leave it empty to end them now."
        )
    )

    def find_objection(self, naming: Naming) -> str:
        if naming.user == self.actor:
            text = _("%s is your own account. Ask another superuser.")
            return text % quote(naming.name)
        return super().find_objection(naming)

    def make_change(self) -> BulkChange | None:
        names = split_names(self.cleaned_data["people"])
        users = self.find_people("people", names)
        offboards = self.cleaned_data["what"] == "offboard"
        if offboards and len(users) > OFFBOARDED_AT_ONCE:
            text = _("You can offboard at most %d people at once.")
            self.add_error("people", text % OFFBOARDED_AT_ONCE)
        if not users and not self.problems and not self.errors:
            self.add_error("people", _("Enter a username or an email address."))
        until = self.cleaned_data["until"]
        if offboards and until is not None:
            text = _("Offboarding takes effect at once. Leave the day empty.")
            self.add_error("until", text)
        return EndAccess(users, offboards, until) if users else None


def describe_organization_naming(naming: OrganizationNaming) -> str:
    """Return the error about a name that does not identify exactly one organization."""
    if not naming.candidates:
        return _("There is no organization with the name or reference %s.") % quote(
            naming.name
        )
    found = ", ".join(
        f"{row} (#{row.pk})" for row in naming.candidates[:PROBLEMS_SHOWN]
    )
    return _("%(name)s may mean %(organizations)s. Enter the number instead.") % {
        "name": quote(naming.name),
        "organizations": found,
    }
