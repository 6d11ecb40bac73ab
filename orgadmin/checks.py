"""System checks: what stands in our admin site asks the rule, or `manage.py check` says what to write.

They cannot see generic relations, views of one's own, what a method or a filter of one's own shows, and a second
foreign key to an organization beside that of the path: a test of the pages has to.
"""

from django.apps import apps
from django.contrib import admin
from django.core import checks
from django.core.exceptions import FieldDoesNotExist

from .gate import GatedModelAdmin, GatedTabularInline, SuperuserOnlyAdmin
from .models import Organization
from .roles import CONFIDENTIAL_FIELDS, ROLES

# Models that lead to an organization and have no gated page, and why none shows them.
UNGATED = {
    "orgadmin.Invitation": "shown on the page of an organization's people, which asks",
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
        if not issubclass(inline, GatedTabularInline) or model_admin.organization_path:
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
    """The path goes along foreign keys to primary keys; an inline's is its one foreign key."""
    model, path = gated.model, gated.organization_path
    fields = []
    for name in path.split("__") if path else ():
        field = _find_field(model, name) if model else None
        if field is None or not field.concrete or not (field.many_to_one or field.one_to_one):
            model = None
            break
        fields.append(field)
        model = field.remote_field.model
    leads = path is not None and model is Organization and all(field.target_field.primary_key for field in fields)
    if not leads or (isinstance(gated, GatedTabularInline) and (not path or gated.fk_name not in (None, path))):
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
    """Refuse options that show or change more than the rows and fields that the rule permits."""

    def error(what, hint):
        return checks.Error(what, hint=hint, obj=type(model_admin), id="orgadmin.E006")

    for name in ("get_inlines", "get_list_display", "get_list_filter", "get_ordering", "get_search_fields"):
        if getattr(type(model_admin), name) is not getattr(admin.ModelAdmin, name):
            yield error(f"{name}() decides by itself what is shown.", "Declare it, so that it can be checked.")
    for name in [*model_admin.list_display, *model_admin.search_fields, *(model_admin.ordering or ())]:
        if not isinstance(name, str) and name in (model_admin.ordering or ()):
            yield error("An expression orders the list.", "Order by the names of fields.")
        elif isinstance(name, str) and _is_hidden(model_admin.model, name.lstrip("-^=@")):
            yield error(f"'{name}' is not for all who may view, and the list is.", "Leave it to the page.")
    for item in model_admin.list_filter:
        if not isinstance(item, str | list | tuple):
            continue  # a filter of one's own
        name, is_narrow = (item, False) if isinstance(item, str) else (item[0], _is_narrow(item[1]))
        field = _find_field(model_admin.model, name)
        if _is_hidden(model_admin.model, name) or (not is_narrow and (field is None or field.remote_field)):
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


def _is_hidden(model, lookup):
    """Tell whether a lookup such as "organization__notes__startswith" reads what not all may who may view."""
    hidden = {*CONFIDENTIAL_FIELDS, *(name for role in ROLES for name in (role.key, role.attname))}
    for name in lookup.split("__"):
        if model is Organization and name in hidden:
            return True
        field = _find_field(model, name)
        model = field.remote_field.model if field and field.remote_field else getattr(field, "related_model", None)
        if model is None:
            return False
    return False


def _is_narrow(filter_class):
    return isinstance(filter_class, type) and issubclass(filter_class, admin.RelatedOnlyFieldListFilter)


def _find_field(model, name):
    try:
        return model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
