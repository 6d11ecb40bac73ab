"""System checks: what stands in our admin site asks the rule, or `manage.py check` says what to write.

They cannot see generic relations, views of one's own and what a method shows: a test of the pages has to.
"""

from django.apps import apps
from django.contrib import admin
from django.core import checks
from django.core.exceptions import FieldDoesNotExist

from .gate import Gated, GatedModelAdmin, SuperuserOnlyAdmin
from .models import Organization
from .roles import CONFIDENTIAL_FIELDS, ROLES

# Models that lead to an organization and have no gated page, and why none shows them.
UNGATED = {
    "orgadmin.OrganizationUserObjectPermission": "a grant; the rule reads it, and no page shows it",
    "orgadmin.OrganizationGroupObjectPermission": "a grant; the rule reads it, and no page shows it",
}


@checks.register()
def check_roles(app_configs, **kwargs):
    for role in ROLES:
        if "view" not in role.actions:
            yield checks.Error(
                f"Role '{role.key}' holds rights on organizations that it may not view.",
                hint="Add 'view' to its actions in orgadmin/roles.py.",
                id="orgadmin.E001",
            )


@checks.register()
def check_admin_site(app_configs, site=None, models=None, **kwargs):
    site = site or admin.site
    for model, model_admin in site._registry.items():
        if not isinstance(model_admin, GatedModelAdmin | SuperuserOnlyAdmin):
            yield checks.Error(
                f"{model._meta.label} is shown by an admin class that does not ask who may see it.",
                hint="Derive it from GatedModelAdmin (orgadmin/gate.py) where the model leads to an organization, else"
                " from SuperuserOnlyAdmin; site.unregister() first what a library registers by itself.",
                obj=type(model_admin),
                id="orgadmin.E002",
            )
        elif isinstance(model_admin, GatedModelAdmin):
            yield from _check_gated(model_admin)
    for model in models or apps.get_models(include_auto_created=True):
        yield from _check_path(model, site)


def _check_gated(model_admin):
    yield from _check_organization_path(model_admin)
    for inline in model_admin.inlines:
        if not issubclass(inline, Gated) or model_admin.organization_path:
            yield checks.Error(
                f"{inline.__name__} shows rows without asking who may see them.",
                hint="Derive it from GatedTabularInline, and use it in the page of Organization.",
                obj=type(model_admin),
                id="orgadmin.E003",
            )
        else:
            yield from _check_organization_path(inline(model_admin.model, model_admin.admin_site))
    yield from _check_options(model_admin)


def _check_organization_path(gated):
    try:
        model = gated.model
        for name in filter(None, gated.organization_path.split("__")):
            model = model._meta.get_field(name).remote_field.model
        leads = model is Organization
    except (AttributeError, FieldDoesNotExist):
        leads = False
    if not leads:
        yield checks.Error(
            f"The organization_path of {type(gated).__name__} does not lead to an organization.",
            hint='Set it to the path of foreign keys, such as organization_path = "organization".',
            obj=type(gated),
            id="orgadmin.E004",
        )


def _check_path(model, site):
    leads = any(field.remote_field and _leads_to_organization(field) for field in model._meta.concrete_fields)
    gated = isinstance(site._registry.get(model), GatedModelAdmin)
    if leads and not gated and model._meta.label not in UNGATED:
        yield checks.Error(
            f"{model._meta.label} belongs to organizations, but nothing gates it.",
            hint='Register a GatedModelAdmin with organization_path = "…", or name it in UNGATED in'
            " orgadmin/checks.py with the reason.",
            obj=model,
            id="orgadmin.E005",
        )


def _leads_to_organization(field, seen=()):
    model = field.remote_field.model
    if model is Organization or model in seen:
        return model is Organization
    return any(f.remote_field and _leads_to_organization(f, (*seen, model)) for f in model._meta.concrete_fields)


def _check_options(model_admin):
    """Refuse options that show or change more than the rows that the rule permits."""

    def error(what, hint):
        return checks.Error(what, hint=hint, obj=type(model_admin), id="orgadmin.E006")

    shown = [*model_admin.list_display, *model_admin.search_fields, *(model_admin.ordering or ())]
    for name in shown:
        if isinstance(name, str) and name.lstrip("-^=@").split("__")[-1] in CONFIDENTIAL_FIELDS:
            yield error(f"'{name}' is confidential, and the list is for whoever may view.", "Leave it to the page.")
    for item in model_admin.list_filter:
        name, relation_only = (item, False) if isinstance(item, str) else (item[0], _is_narrow(item[1]))
        field = _find_field(model_admin.model, name)
        if not relation_only and (field is None or field.remote_field or name in CONFIDENTIAL_FIELDS):
            yield error(
                f"The filter '{name}' offers values from rows that the person may not see.",
                "Filter by a public field of the model itself, or by a relation with RelatedOnlyFieldListFilter.",
            )
    if model_admin.date_hierarchy:
        yield error("date_hierarchy answers wild dates with an error page.", "Use a list filter.")
    if model_admin.list_editable:
        yield error("list_editable changes rows that may only be viewed.", "Edit on the page of the row.")
    for function, name, _ in model_admin._get_base_actions():
        if not getattr(function, "allowed_permissions", None):
            yield error(
                f"The action '{name}' does not say which right it takes.",
                'Decorate the function with @admin.action(permissions=["change"]).',
            )


def _is_narrow(filter_class):
    return isinstance(filter_class, type) and issubclass(filter_class, admin.RelatedOnlyFieldListFilter)


def _find_field(model, name):
    try:
        return model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
