"""System checks: what stands in our admin site asks the rule, or `manage.py check` says what to write.
They cannot see generic relations, one's own views and filters, what a method shows, and a second path: tests must."""

from django.apps import apps
from django.contrib import admin
from django.core import checks
from django.core.exceptions import FieldDoesNotExist

from orgadmin.access.roles import CONFIDENTIAL_FIELDS, ROLES
from orgadmin.admin.gated import GatedModelAdmin, GatedTabularInline, SuperuserOnlyAdmin
from orgadmin.models import Organization

# Models that lead to an organization and have no gated page, and why none shows them.
UNGATED = {
    "orgadmin.Invitation": "shown on the page of an organization's people, which asks",
    "orgadmin.OrganizationUserObjectPermission": "a grant; the rule reads it, and no page shows it",
    "orgadmin.OrganizationGroupObjectPermission": "a grant; the rule reads it, and no page shows it",
}


HINTS = {
    "E001": "Add 'view' to its actions in orgadmin/roles.py.",
    "E002": "Derive it from GatedModelAdmin (gate.py) where the model leads to organizations, else SuperuserOnlyAdmin.",
    "E003": "Derive it from GatedTabularInline, and use it in the page of Organization.",
    "E004": 'Set it to the path of foreign keys, such as organization_path = "organization".',
    "E005": 'Register a GatedModelAdmin with organization_path = "…", or name it, and why, in UNGATED in checks.py.',
}


def _error(number, text, obj=None, hint=None):
    return checks.Error(
        text, hint=hint or HINTS[number], obj=obj, id=f"orgadmin.{number}"
    )


@checks.register()
def check_roles(app_configs, **kwargs):
    for role in ROLES:
        if "view" not in role.permissions:
            yield _error(
                "E001",
                f"Role '{role.key}' holds rights on organizations that it may not view.",
            )


@checks.register()
def check_admin_site(app_configs, site=None, models=None, **kwargs):
    site = site or admin.site
    for model, model_admin in site._registry.items():
        if isinstance(model_admin, GatedModelAdmin):
            yield from _check_gated(model_admin)
        elif not isinstance(model_admin, SuperuserOnlyAdmin):
            text = f"{model._meta.label} is shown by an admin class that does not ask who may see it."
            yield _error("E002", text, type(model_admin))
    for model in models or apps.get_models(include_auto_created=True):
        known = (
            isinstance(site._registry.get(model), GatedModelAdmin)
            or model._meta.label in UNGATED
        )
        if not known and _leads_to_organization(model):
            yield _error(
                "E005",
                f"{model._meta.label} belongs to organizations, but nothing gates it.",
                model,
            )


def _check_gated(model_admin):
    gated = [model_admin]
    for inline in model_admin.inlines:
        if issubclass(inline, GatedTabularInline) and not model_admin.organization_path:
            gated.append(inline(model_admin.model, model_admin.admin_site))
        else:
            yield _error(
                "E003",
                f"{inline.__name__} shows rows without asking who may see them.",
                type(model_admin),
            )
    for item in gated:
        if not _has_path(item):
            text = f"The organization_path of {type(item).__name__} does not lead to an organization."
            yield _error("E004", text, type(item))
    for text, hint in _find_wrong_options(model_admin):
        yield _error("E006", text, type(model_admin), hint)


def _has_path(gated):
    """Tell whether the path goes along foreign keys to primary keys; an inline's is its one foreign key."""
    model, path = gated.model, gated.organization_path
    for name in path.split("__") if path else ():
        field = _find_field(model, name)
        is_primary_key = (
            field and field.concrete and (field.many_to_one or field.one_to_one)
        )
        model = (
            field.remote_field.model
            if is_primary_key and field.target_field.primary_key
            else None
        )
    if isinstance(gated, GatedTabularInline) and (
        not path or gated.fk_name not in (None, path)
    ):
        return False
    return path is not None and model is Organization


def _leads_to_organization(model, seen=frozenset()):
    seen |= {model}
    related = {
        field.remote_field.model
        for field in model._meta.concrete_fields
        if field.remote_field
    }
    return Organization in related or any(
        _leads_to_organization(other, seen) for other in related - seen
    )


def _find_wrong_options(model_admin):
    """Yield (what, hint) for options that show or change more than the rows and fields that the rule permits."""
    model, ordering = model_admin.model, model_admin.ordering or ()
    for name in (
        "get_inlines",
        "get_list_display",
        "get_list_filter",
        "get_ordering",
        "get_search_fields",
    ):
        if getattr(type(model_admin), name) is not getattr(admin.ModelAdmin, name):
            yield (
                f"{name}() decides by itself what is shown.",
                "Declare it, so that it can be checked.",
            )
    for name in [*model_admin.list_display, *model_admin.search_fields, *ordering]:
        if (
            _is_hidden(model, name.lstrip("-^=@"))
            if isinstance(name, str)
            else name in ordering
        ):  # an expression
            yield (
                f"'{name}' is not for all who may view, and the list is.",
                "Leave it to the page.",
            )
    for item in model_admin.list_filter:
        name, kind = item if isinstance(item, list | tuple) else (item, None)
        is_plain = (
            isinstance(name, str) and kind is not admin.RelatedOnlyFieldListFilter
        )  # else narrow, or one's own
        if (
            _is_hidden(model, str(name))
            or is_plain
            and getattr(_find_field(model, name), "remote_field", True)
        ):
            hint = "Filter by a public field of the model itself, or by a relation with RelatedOnlyFieldListFilter."
            yield (
                f"The filter '{name}' offers values from rows that the person may not see.",
                hint,
            )
    if model_admin.date_hierarchy:
        yield (
            "date_hierarchy answers wild dates with an error page.",
            "Use a list filter.",
        )
    if model_admin.list_editable:
        yield (
            "list_editable changes rows that may only be viewed.",
            "Edit on the page of the row.",
        )
    for function, name, _ in model_admin._get_base_actions():
        if not getattr(function, "allowed_permissions", None):
            hint = 'Decorate the function with @admin.action(permissions=["change"]).'
            yield f"The action '{name}' does not say which right it takes.", hint


def _is_hidden(model, lookup):
    """Tell whether a lookup such as "organization__notes__startswith" reads what not all may who may view."""
    hidden = {
        *CONFIDENTIAL_FIELDS,
        *(name for role in ROLES for name in (role.key, role.attname)),
    }
    for name in lookup.split("__"):
        if model is Organization and name in hidden:
            return True
        model = getattr(_find_field(model, name), "related_model", None)
    return False


def _find_field(model, name):
    try:
        return model._meta.get_field(name) if model else None
    except FieldDoesNotExist:
        return None
