"""The forms that edit organizations and people."""

from typing import ClassVar

from django import forms
from django.contrib.auth.forms import (
    AdminPasswordChangeForm,
    SetUnusablePasswordMixin,
    UserChangeForm,
)
from django.db import IntegrityError
from django.db.models import Q
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _, ngettext

from orgadmin.access.groups import get_owner_relation
from orgadmin.access.roles import ROLES
from orgadmin.admin.last_admin import (
    CONFIRMATION_FIELD,
    describe_refusal,
    list_organizations,
    read_confirmed,
)
from orgadmin.admin.merging import MergingForm
from orgadmin.admin.successors import find_objection
from orgadmin.models import Membership, Organization
from orgadmin.models.guards import (
    LastAdminError,
    LastSuperuserError,
    find_orphaned_by,
    is_last_superuser,
)
from orgadmin.models.look_alikes import lock_key, make_key
from orgadmin.models.validators import is_primary_key
from orgadmin.people.changes import RoleChange
from orgadmin.people.find_people import identify
from orgadmin.people.membership import (
    AmbiguousRoles,
    choose_roles,
    find_groups_to_replace,
    find_organizations_losing_last_admin,
    set_groups,
)
from orgadmin.people.succession import hand_over
from orgadmin.records.columns import FIELDS

# The maximum number of organizations with a similar name that an error links to.
NAMESAKES_SHOWN = 5

# The maximum number of groups of a person that the form shows. Django refuses a request
# with more than a thousand fields.
GROUPS_SHOWN = 100


class OrganizationForm(MergingForm):
    """The form that adds or edits an organization.

    If the name of a new organization already exists, or looks like an existing name,
    the form must be saved twice. The first time, an error links to the existing
    organizations, and the page gets the name in the hidden field `namesake`. If this
    field is sent back with the same name, the person has seen the error. In the same
    way, the hidden field `freed_reference` confirms that an archived organization loses
    its reference.
    """

    website = Organization._meta.get_field("website").formfield(
        label=_("Website"),
        assume_scheme="https",
        widget=forms.URLInput({"class": "vURLField"}),
    )
    namesake = forms.CharField(required=False, widget=forms.HiddenInput)
    freed_reference = forms.CharField(required=False, widget=forms.HiddenInput)

    # The reference that is taken from an archived organization, or "".
    taken_reference = ""

    class Meta:
        model = Organization
        fields = FIELDS
        help_texts = {
            "name": _("Changing the name also renames the organization's groups."),
            "email": _(
                "The organization's general address. Add the addresses of people as"
                " contacts below."
            ),
            "phone": _("Include the country code, such as +49 30 1234567."),
            "address": _("Postal address"),
        }

    def clean_name(self):
        name = self.cleaned_data["name"]
        is_new = self.instance.pk is None
        was_asked = self.data.get(self.add_prefix("namesake")) == name
        if is_new and not was_asked:
            key = make_key(name)
            lock_key(key)
            # People who can add organizations can view all of them, so the error does
            # not reveal anything.
            namesakes = Organization.objects.permitted(self.user).filter(name_key=key)
            namesakes = namesakes[:NAMESAKES_SHOWN]
            if namesakes:
                self._ask_about_namesakes(name, namesakes)
        return name

    def _ask_about_namesakes(self, name, namesakes):
        """Raise an error that links to the existing organizations."""
        self.data = self.data.copy()
        self.data[self.add_prefix("namesake")] = name
        links = format_html_join(
            ", ",
            '<a href="{}" target="_blank">{}</a>',
            [self._describe_namesake(namesake) for namesake in namesakes],
        )
        text = ngettext(
            "There is an organization with this name, or one that looks like it: {}."
            " If yours is a different one, save again.",
            "There are organizations with this name, or one that looks like it: {}."
            " If yours is a different one, save again.",
            len(namesakes),
        )
        raise forms.ValidationError(format_html(text, links))

    def clean_reference(self):
        """Ask before a reference is taken from an archived organization.

        Only superusers can change references.
        """
        reference = self.cleaned_data["reference"]
        if not reference or "reference" not in self.changed_data:
            return reference
        archived = Organization.objects.archived()
        owner = archived.filter(reference=reference).first()
        if owner is None:
            return reference
        if self.data.get(self.add_prefix("freed_reference")) != reference:
            self._ask_about_archived(reference, owner)
        self.taken_reference = reference
        return reference

    def _ask_about_archived(self, reference, owner):
        """Raise an error that links to the archived organization."""
        self.data = self.data.copy()
        self.data[self.add_prefix("freed_reference")] = reference
        text = _(
            'The archived organization <a href="{}" target="_blank">{}</a> has this'
            " reference. To use it here and remove it there, save again."
        )
        name = "admin:orgadmin_organization_archived_record"
        link = reverse(name, args=[owner.pk])
        raise forms.ValidationError(format_html(text, link, owner))

    def _get_validation_exclusions(self):
        exclude = super()._get_validation_exclusions()
        # The archived organization still has the reference, so Django would refuse it.
        # It is removed there before this organization is saved.
        if self.taken_reference:
            exclude.add("reference")
        return exclude

    def _describe_namesake(self, namesake):
        """Return the URL and the text of the link to an organization."""
        url = reverse("admin:orgadmin_organization_overview", args=[namesake.pk])
        return url, f"{namesake} ({namesake.reference or namesake.pk})"


class PersonPasswordForm(AdminPasswordChangeForm):
    """The form that sets or disables the password of a person.

    Its help text is translated. The help text of Django's form is always in English.
    """

    usable_password_help_text = format_lazy(
        '{}<ul id="id_unusable_warning" class="messagelist">'
        '<li class="warning">{}</li></ul>',
        SetUnusablePasswordMixin.usable_password_help_text,
        _("If disabled, the current password for this user will be lost."),
    )


class UserForm(UserChangeForm):
    """The form that edits a person.

    Changes of their groups are checked and logged like all changes of roles.

    If a change leaves organizations without an active admin, the form must be saved
    twice. The first time, an error names the organizations, and the page gets their IDs
    in the hidden field `confirmed_organizations`. If this field is sent back with these
    IDs, the user has seen the error. Together with the error, the page shows the field
    `successor`. The person named there becomes admin of the organizations. Only
    superusers can confirm such a change. `ClosedModelAdmin.get_form()` sets `user` to
    the user who saves the form.

    The form shows at most GROUPS_SHOWN groups, and their IDs are in the hidden field
    `groups_shown`. Groups that were not shown stay, including groups that someone else
    added in the meantime. A request without this field, such as one from a script,
    replaces all groups.
    """

    # The roles in organizations that the chosen groups represent.
    chosen_roles = ()

    # The IDs of the organizations that the user confirmed to leave without an admin.
    confirmed = frozenset()

    # {organization ID: the user who takes over}
    successors: ClassVar[dict] = {}

    confirmed_organizations = forms.CharField(required=False, widget=forms.HiddenInput)
    successor = forms.CharField(
        label=_("Who takes over"),
        required=False,
        max_length=254,
        widget=forms.HiddenInput,
        help_text=_(
            "Enter a username, a confirmed email address, or a number such as #17."
            " Leave it empty to leave the organizations without an active admin."
        ),
    )
    groups_shown = forms.CharField(required=False, widget=forms.HiddenInput)

    class Meta(UserChangeForm.Meta):
        help_texts = {
            "email": _(
                "A new address ends the person's sessions. It counts for invitations,"
                " imports and the company's sign-in once they have confirmed it."
            ),
            "is_staff": _(
                "For platform staff only. Members of an organization can sign in"
                " without it."
            ),
        }

    def __init__(self, *args, **kwargs):
        person = kwargs.get("instance")
        if person is not None and person.pk:
            # The form reads the person's groups from this cache. It must not contain
            # memberships that have ended.
            current = Membership.objects.groups_of(person)
            person._prefetched_objects_cache = {"groups": current}
        super().__init__(*args, **kwargs)
        self.instance._prefetched_objects_cache = {}
        if "groups" in self.fields and self.instance.pk:
            self._show_groups()

    def _show_groups(self):
        """Set the groups that the form shows, which may not be all of them."""
        groups = self.initial["groups"]
        keys = self._read_keys_shown()
        if keys is not None:
            groups = [group for group in groups if group.pk in keys]
        elif len(groups) > GROUPS_SHOWN:
            text = _(
                "This person has %(number)d groups, of which these are the first"
                " %(shown)d. The others stay. Their roles are also on the People page"
                " of each organization."
            )
            numbers = {"number": len(groups), "shown": GROUPS_SHOWN}
            self.fields["groups"].help_text = text % numbers
            groups = self._find_first_groups()
        self.initial["groups"] = groups
        self.initial["groups_shown"] = " ".join(str(group.pk) for group in groups)

    def _find_first_groups(self):
        """Return up to GROUPS_SHOWN groups of the person.

        Groups that do not belong to an organization come first, because they can only
        be changed here.
        """
        is_role = Q()
        for role in ROLES:
            is_role |= Q(**{f"{get_owner_relation(role)}__isnull": False})
        current = Membership.objects.groups_of(self.instance)
        groups = current.annotate(is_role=Q(is_role))
        return list(groups.order_by("is_role", "name", "pk")[:GROUPS_SHOWN])

    def _read_keys_shown(self):
        """Return the IDs of the groups that the page showed, or None if not sent."""
        if "groups_shown" not in self.data:
            return None
        keys = self.data["groups_shown"].split()
        return {int(key) for key in keys if is_primary_key(key)}

    def clean_groups(self):
        groups = self.cleaned_data["groups"]
        self.chosen_roles = self._choose_roles(groups)
        return groups

    def clean(self):
        cleaned = super().clean()
        if self.instance.pk is not None and not self.errors:
            self._check_superuser()
            self._check_admins()
        return cleaned

    def _loses(self, flag):
        """Return whether the form removes a flag of the person, such as "is_active"."""
        return self.initial.get(flag) and self.cleaned_data.get(flag) is False

    def _check_superuser(self):
        """Show an error if the last active superuser would lose their access."""
        for flag in ("is_active", "is_superuser"):
            # The instance still has the values in the database.
            if self._loses(flag) and is_last_superuser(self.instance):
                self.add_error(flag, str(LastSuperuserError()))

    def _check_admins(self):
        """Show an error if an organization would lose its last active admin.

        There is no error if the user has confirmed the change.
        """
        organizations = {}
        if "groups" in self.cleaned_data:
            changes = [
                RoleChange(self.instance, row.organization, row.role)
                for row in self.chosen_roles
            ]
            organizations["groups"] = find_organizations_losing_last_admin(changes)
        if self._loses("is_active"):
            organizations["is_active"] = find_orphaned_by([self.instance])
        self._require_confirmation(organizations)

    def _choose_roles(self, groups):
        """Return the roles that these groups represent, at most one per organization.

        Raises `ValidationError` if several roles of an organization were chosen.
        """
        current_groups = set()
        if self.instance.pk:
            keys = self._read_keys_shown()
            current_groups = find_groups_to_replace(self.instance, groups, keys)
        try:
            return choose_roles(current_groups, set(groups))
        except AmbiguousRoles as error:
            names = [str(organization) for organization in error.organizations]
            text = _(
                "Choose one role in each organization: admin and reviewer cannot be"
                " combined in %(names)s."
            )
            params = {"names": ", ".join(names)}
            raise forms.ValidationError(text, params=params) from error

    def _require_confirmation(self, organizations_by_field):
        """Add an error that asks for confirmation, unless the change was confirmed.

        `organizations_by_field` contains the organizations that would lose their last
        admin because of each field. The error is shown at the first field that has any.
        The change is confirmed if the request contains the IDs of all of them. Then,
        `confirmed` or `successors` is set. Only superusers can confirm the change. For
        other users, the error says why it is refused.
        """
        fields = [name for name, rows in organizations_by_field.items() if rows]
        if not fields:
            return
        organizations = {}
        for name in fields:
            for organization in organizations_by_field[name]:
                organizations[organization.pk] = organization
        affected = list(organizations.values())
        if not self.user.is_superuser:
            text = describe_refusal(LastAdminError(affected), self.user)
            self.add_error(fields[0], text)
            return
        if organizations.keys() <= read_confirmed(self.data):
            self._read_successor(organizations)
            return
        self._show_successor()
        # The form is shown again with this value in the hidden field.
        self.data = self.data.copy()
        self.data[CONFIRMATION_FIELD] = " ".join(str(pk) for pk in organizations)
        text = _(
            "No active admin would be left in %s. Save again to confirm. You can also"
            " say below who takes over."
        )
        self.add_error(fields[0], text % list_organizations(affected))

    def _show_successor(self):
        """Show the field `successor`, which is hidden by default."""
        widget = forms.TextInput(
            {
                "class": "vTextField",
                "autocomplete": "off",
                "data-suggest": reverse("admin:orgadmin_user_suggest"),
            }
        )
        self.fields["successor"].widget = widget

    def _read_successor(self, keys):
        """Set `successors`, or `confirmed` if nobody was named.

        If the person who was named cannot take over, adds an error instead.

        `keys` are the IDs of the organizations that would lose their last admin.
        """
        name = self.cleaned_data.get("successor", "").strip()
        if not name:
            self.confirmed = frozenset(keys)
            return
        self._show_successor()
        naming = identify([name])[name]
        objection = find_objection(naming, [self.instance])
        if objection:
            self.add_error("successor", objection)
            return
        self.successors = dict.fromkeys(keys, naming.user)

    def appoint_successors(self):
        """Make the successor an admin, before the change is saved."""
        hand_over(
            [self.instance],
            self.successors,
            actor=self.user,
            keeps_account=not self._loses("is_active"),
        )

    def _save_m2m(self):
        """Save the groups with `set_groups()`, which checks and logs the changes.

        Raises `IntegrityError` if the form is no longer valid, and the exceptions of
        `set_groups()`.
        """
        groups = self.cleaned_data.pop("groups", None)
        super()._save_m2m()
        if groups is None:
            return
        try:
            set_groups(
                self.instance,
                groups,
                actor=self.user,
                replaced=self._read_keys_shown(),
                confirmed=self.confirmed,
            )
        except AmbiguousRoles as error:
            # The form was valid when one of the two chosen roles was the person's
            # current role, which the other one replaced. The person lost that role in
            # the meantime, so now both roles are new. After this error,
            # `changeform_view()` validates the form again.
            raise IntegrityError("Both roles of an organization are new.") from error
