"""System checks for admin classes.

They refuse an admin class unless it asks the access rule or is for superusers only, and
some related mistakes, such as filters that reveal hidden values.

The checks cannot examine generic relations, what custom views and filters show, the
output of methods in lists, or a second foreign key to an organization. Tests must cover
these.
"""

from dataclasses import dataclass

from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group
from django.core import checks
from django.core.exceptions import FieldDoesNotExist

from orgadmin.access.roles import CONFIDENTIAL_FIELDS, PERMISSIONS, ROLES
from orgadmin.admin.base import ClosedModelAdmin, SuperuserOnlyAdmin
from orgadmin.admin.gated import (
    GatedModelAdmin,
    GatedOrganizationAdmin,
    GatedTabularInline,
)
from orgadmin.admin.lists.filters import Filter
from orgadmin.models import Organization, User

# Models that belong to organizations but do not have pages of their own, and therefore
# no gated admin class, with the reason.
UNGATED = {
    "orgadmin.AcceptedInvitation": "Only the export of a person's data contains it.",
    "orgadmin.AccessLink": "The Requests page of the organization shows it.",
    "orgadmin.AccessRequest": "The Requests page of the organization shows it.",
    "orgadmin.Invitation": "The People page of the organization shows it.",
    "orgadmin.OrganizationUserObjectPermission": "Pages show it as a reason only.",
    "orgadmin.OrganizationGroupObjectPermission": "Pages show it as a reason only.",
}

# The methods that an admin class must not override, because the checks cannot examine
# what they return.
DYNAMIC_OPTIONS = (
    "get_inlines",
    "get_list_display",
    "get_list_filter",
    "get_ordering",
    "get_search_fields",
)

# The characters with which a search field ("^", "=" or "@") or an ordering ("-") can
# start.
PREFIXES = "-^=@"


@dataclass(frozen=True)
class Mistake:
    text: str
    hint: str


def make_error(number, mistake, obj=None):
    return checks.Error(
        mistake.text, hint=mistake.hint, obj=obj, id=f"orgadmin.{number}"
    )


# The role table: E001


@checks.register()
def check_roles(app_configs, **kwargs):
    for role in ROLES:
        if "view" not in role.permissions:
            mistake = Mistake(
                f"Role '{role.key}' has permissions on organizations that it cannot"
                " view.",
                'Add "view" to the role\'s permissions in orgadmin/access/roles.py.',
            )
            yield make_error("E001", mistake)


# The admin site: E002 to E007


@checks.register()
def check_admin_site(app_configs, site=None, models=None, **kwargs):
    site = site or admin.site
    for model, model_admin in site._registry.items():
        yield from check_admin_class(model, model_admin)
    for model in models or apps.get_models(include_auto_created=True):
        yield from check_model(model, site)


def check_admin_class(model, model_admin):
    """Yield the errors of an admin class.

    It must ask the access rule or be for superusers only (E002), must not show or
    change more than the rule permits (E003, E004 and E006), and must require a recent
    sign-in for changes of people and groups (E007).
    """
    if isinstance(model_admin, GatedModelAdmin):
        yield from check_path_to_organization(model_admin)
        yield from check_inlines(model_admin)
        yield from check_options(model_admin)
    elif not isinstance(model_admin, SuperuserOnlyAdmin):
        mistake = Mistake(
            f"The admin class of {model._meta.label} does not check who can see it.",
            "Derive it from GatedModelAdmin (orgadmin/admin/gated.py) if the model"
            " belongs to organizations, and from SuperuserOnlyAdmin"
            " (orgadmin/admin/base.py) if not.",
        )
        yield make_error("E002", mistake, type(model_admin))
    if isinstance(model_admin, ClosedModelAdmin):
        yield from check_recent_sign_in(model, model_admin)


def check_inlines(model_admin):
    """Yield an error for each inline that does not check who can see its rows."""
    for inline_class in model_admin.inlines:
        is_gated = issubclass(inline_class, GatedTabularInline)
        if is_gated and isinstance(model_admin, GatedOrganizationAdmin):
            yield from check_path_to_organization(
                inline_class(model_admin.model, model_admin.admin_site)
            )
        else:
            mistake = Mistake(
                f"{inline_class.__name__} shows rows without checking who can see"
                " them.",
                "Derive it from GatedTabularInline (orgadmin/admin/gated.py), and use"
                " it in the admin class of Organization only.",
            )
            yield make_error("E003", mistake, type(model_admin))


def check_path_to_organization(gated):
    """Check that `organization_path` leads from the model to its organization.

    `gated` is a gated admin class or inline.
    """
    if not has_valid_path(gated):
        mistake = Mistake(
            f"The organization_path of {type(gated).__name__} does not lead to an"
            " organization.",
            "Set it to the foreign keys that lead to the organization, such as"
            ' organization_path = "organization". GatedOrganizationAdmin is for'
            " Organization itself.",
        )
        yield make_error("E004", mistake, type(gated))


def has_valid_path(gated):
    """Return whether `organization_path` of a gated admin class or inline is valid."""
    path = gated.organization_path
    if isinstance(gated, GatedOrganizationAdmin):
        return gated.model is Organization
    if not path:
        return False
    if isinstance(gated, GatedTabularInline) and gated.fk_name not in (None, path):
        return False
    return leads_to_organization(gated.model, path)


def leads_to_organization(model, path):
    """Return whether a path of foreign keys leads from a model to Organization.

    All foreign keys must refer to primary keys.
    """
    current = model
    for name in path.split("__"):
        field = find_field(current, name)
        if not is_foreign_key(field) or not field.target_field.primary_key:
            return False
        current = field.remote_field.model
    return current is Organization


def is_foreign_key(field):
    if field is None or not field.concrete:
        return False
    return field.many_to_one or field.one_to_one


def check_model(model, site):
    """Yield an error if a model belongs to organizations, but nothing protects it.

    It needs a gated admin class, or an entry in UNGATED.
    """
    is_gated = isinstance(site._registry.get(model), GatedModelAdmin)
    if is_gated or model._meta.label in UNGATED:
        return
    if belongs_to_organization(model):
        mistake = Mistake(
            f"{model._meta.label} belongs to organizations, but does not have a gated"
            " admin class.",
            'Register a GatedModelAdmin with organization_path = "…". If the model does'
            " not need one, add the model and the reason to UNGATED in"
            " orgadmin/admin/checks.py.",
        )
        yield make_error("E005", mistake, model)


def belongs_to_organization(model):
    """Return whether any path of foreign keys leads from a model to Organization."""
    remaining = [model]
    visited = set()
    while remaining:
        current = remaining.pop()
        visited.add(current)
        for field in current._meta.concrete_fields:
            if field.remote_field is None:
                continue
            related_model = field.remote_field.model
            if related_model is Organization:
                return True
            if related_model not in visited:
                remaining.append(related_model)
    return False


# The options of a gated admin class: E006


def check_options(model_admin):
    """Yield errors for options that could show or change more than the rule permits.

    Also refuses options that cannot be checked, or that cause server errors.
    """
    finders = [
        find_dynamic_options,
        find_hidden_fields,
        find_expressions,
        find_revealing_filters,
        find_undeclared_filters,
        find_revealing_sorts,
        find_date_hierarchy,
        find_list_editable,
        find_undeclared_actions,
    ]
    for find in finders:
        for mistake in find(model_admin):
            yield make_error("E006", mistake, type(model_admin))


def find_dynamic_options(model_admin):
    for name in DYNAMIC_OPTIONS:
        method = getattr(type(model_admin), name)
        if method is not getattr(admin.ModelAdmin, name):
            yield Mistake(
                f"{name}() decides at runtime what is shown, so it cannot be checked.",
                f"Set the attribute {name.removeprefix('get_')} instead.",
            )


def find_hidden_fields(model_admin):
    """Find hidden fields that the list shows, searches, or is sorted by."""
    ordering = model_admin.ordering or ()
    for name in [*model_admin.list_display, *model_admin.search_fields, *ordering]:
        if not isinstance(name, str):  # a function that returns the value of a column
            continue
        if is_hidden(model_admin.model, name.lstrip(PREFIXES)):
            yield Mistake(
                f"The list uses '{name}', which not everyone who can view the list"
                " is allowed to see.",
                "Remove it from list_display, search_fields and ordering.",
            )


def find_expressions(model_admin):
    for item in model_admin.ordering or ():
        if not isinstance(item, str):
            yield Mistake(
                f"The ordering '{item}' is an expression, so it cannot be checked.",
                "Sort by the name of a field.",
            )


def find_revealing_filters(model_admin):
    for list_filter in model_admin.list_filter:
        if reveals_values(model_admin.model, list_filter):
            yield Mistake(
                f"The filter '{list_filter}' offers values from rows that the person"
                " cannot see.",
                "Filter by a field of the model itself that is not confidential, or by"
                " a relation with RelatedOnlyFieldListFilter.",
            )


def reveals_values(model, list_filter):
    """Return whether a filter reveals values that the person cannot see.

    Such values are those of hidden fields, and those of rows that are not in the list.
    Returns False for filter classes without a field, which `find_undeclared_filters()`
    checks.
    """
    name = list_filter
    filter_class = None
    if isinstance(list_filter, list | tuple):
        name, filter_class = list_filter
    if not isinstance(name, str):
        return False
    if is_hidden(model, name):
        return True
    if filter_class is admin.RelatedOnlyFieldListFilter:
        return False  # it offers related objects of rows in the list only
    field = find_field(model, name)
    is_field_of_model = field is not None and not field.remote_field
    return not is_field_of_model


def find_undeclared_filters(model_admin):
    """Find filters that do not check the permission for what they reveal."""
    for list_filter in model_admin.list_filter:
        if not isinstance(list_filter, type):
            continue
        is_narrowed = (
            issubclass(list_filter, Filter)
            and list_filter.queryset is Filter.queryset
            and list_filter.permission in PERMISSIONS
        )
        if not is_narrowed:
            yield Mistake(
                f"The filter {list_filter.__name__} does not declare the permission"
                " for what it reveals, or does not check it.",
                "Derive it from Filter (orgadmin/admin/lists/filters.py), set its"
                " permission, and override narrow() instead of queryset().",
            )


def find_revealing_sorts(model_admin):
    for name, sort in (model_admin.sorts or {}).items():
        needs_permission = is_hidden(model_admin.model, sort.field)
        if needs_permission and sort.permission == "view":
            yield Mistake(
                f"The order '{name}' reveals something that not everyone who can view"
                " the list is allowed to know.",
                "Set the permission of the Sort.",
            )


def find_date_hierarchy(model_admin):
    if model_admin.date_hierarchy:
        yield Mistake(
            "date_hierarchy fails with a server error for some dates in the URL.",
            "Use a list filter.",
        )


def find_list_editable(model_admin):
    if model_admin.list_editable:
        yield Mistake(
            "list_editable changes rows that the person can only view.",
            "Edit a row on its own page.",
        )


def find_undeclared_actions(model_admin):
    for function, name, _description in model_admin._get_base_actions():
        if not getattr(function, "allowed_permissions", None):
            yield Mistake(
                f"The action '{name}' does not declare which permission it requires.",
                'Decorate the function with @admin.action(permissions=["change"]).',
            )


def is_hidden(model, lookup):
    """Return whether a lookup reads a value that some people who view rows cannot see.

    An example of a lookup is "organization__notes__startswith".
    """
    hidden = {*CONFIDENTIAL_FIELDS, "active_admins", "admins_end_at", "changed_at"}
    for role in ROLES:
        hidden |= {role.key, role.attname}
    current = model
    for name in lookup.split("__"):
        if current is Organization and name in hidden:
            return True
        field = find_field(current, name)
        current = getattr(field, "related_model", None)
    return False


def find_field(model, name):
    """Return the field or relation of a model with this name, or None."""
    if model is None:
        return None
    try:
        return model._meta.get_field(name)
    except FieldDoesNotExist:
        return None


# Recent sign-ins: E007


def check_recent_sign_in(model, model_admin):
    """Check that changes of people and groups need a recent sign-in."""
    if not is_open_to_old_sign_ins(model_admin) or not is_about_people(model):
        return
    mistake = Mistake(
        f"The admin class of {model._meta.label} allows people to change accounts or"
        " permissions without a recent sign-in.",
        "Remove open_to_old_sign_ins and needs_recent_sign_in() from it.",
    )
    yield make_error("E007", mistake, type(model_admin))


def is_open_to_old_sign_ins(model_admin):
    method = type(model_admin).needs_recent_sign_in
    is_overridden = method is not ClosedModelAdmin.needs_recent_sign_in
    return is_overridden or bool(model_admin.open_to_old_sign_ins)


def is_about_people(model):
    """Return whether rows of a model can be about people, groups or permissions.

    Returns False for organizations, and for models that belong to organizations and do
    not have a relation to people or groups.
    """
    if model is Organization:
        return False
    if not belongs_to_organization(model):
        return True
    return any(
        field.related_model in (User, Group)
        for field in model._meta.get_fields()
        if field.is_relation and not field.auto_created
    )
