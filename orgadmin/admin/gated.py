"""Admin classes for organizations, and for the models that belong to them.

These classes ask the access rule before they show or change rows. Subclasses check
permissions only for pages, columns and actions that they add. The system checks in
`checks.py` refuse any other admin class for these models.
"""

from functools import partial
from http import HTTPStatus
from operator import attrgetter

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext_lazy as _

from orgadmin.access.roles import CONFIDENTIAL_FIELDS, ROLES
from orgadmin.access.rule import belongs_to_archived, is_active_superuser
from orgadmin.admin.base import (
    STOCK_PAGES,
    ClosedModelAdmin,
    PermissionHooks,
    SearchedChoices,
)
from orgadmin.admin.formsets import MAX_ROWS_SENT, GatedInlineFormSet
from orgadmin.admin.history_page import show_page
from orgadmin.admin.lists.changelist import get_page
from orgadmin.admin.merging import MergingForm
from orgadmin.admin.refused import explain_refusal
from orgadmin.gate.answers import get_gate
from orgadmin.models import Organization
from orgadmin.models.validators import is_primary_key
from orgadmin.records.history import (
    Position,
    add_kept_entries,
    read_history,
    read_whole_change,
    show_log_entries,
)

# The maximum number of rows in which `may_sort()` looks up a person's permission.
# People who can view more rows cannot sort by values that not everyone is allowed to
# know, unless they have the permission on all organizations.
MAX_ROWS_TO_SORT = 5_000


class Gated:
    """The base class for the admin of rows that belong to an organization.

    The permissions on an organization decide what people can do with its rows.

    Subclasses must set `organization_path` to the foreign keys that lead from a row to
    its organization, such as "organization" or "contact__organization".
    """

    organization_path = None
    form = MergingForm

    def required_permission(self, permission):
        """Return the permission on the organization that a permission on a row
        requires.

        Adding, changing or deleting a row counts as a change of its organization.
        """
        return "view" if permission == "view" else "change"

    def get_organization_id(self, obj):
        # The path "contact__organization" becomes obj.contact.organization_id.
        attributes = self.organization_path.replace("__", ".")
        return attrgetter(f"{attributes}_id")(obj)

    def narrow(self, queryset, user, permission="view"):
        """Return the rows of `queryset` on which the user has a permission."""
        return self.narrow_by(queryset, user, self.required_permission(permission))

    def narrow_by(self, queryset, user, required):
        """Return the rows with an organization on which the user has a permission."""
        if required in Organization.objects.permissions_everywhere(user):
            # Most organizations are not archived, so excluding the few archived ones
            # lets the database read the rows in the order of an index.
            return queryset.exclude(belongs_to_archived(self.organization_path))
        organizations = Organization.objects.permitted(user, required).order_by()
        return queryset.filter(
            **{f"{self.organization_path}__in": organizations.values("pk")}
        )

    def get_field_queryset(self, db, db_field, request):
        """Return the choices of a relation: the rows that the person can change.

        If the related model is not gated, superusers can choose any row, and other
        people none. The same applies to the relation of an inline to the organization
        of the page. The formset sets this relation, so nobody needs to choose it.
        """
        related_model = db_field.remote_field.model
        choices = related_model._default_manager.all()
        related_admin = self.admin_site._registry.get(related_model)
        is_parent = related_model is getattr(self, "parent_model", None)
        if isinstance(related_admin, Gated) and not is_parent:
            return related_admin.narrow(choices, request.user, "change")
        if is_active_superuser(request.user):
            return choices
        return choices.none()

    def get_autocomplete_fields(self, request):
        """Return the relations to gated models, which can have a million rows."""
        return [
            field.name
            for field in self.opts.fields
            if field.remote_field and self._is_gated(field.remote_field.model)
        ]

    def _is_gated(self, model):
        return isinstance(self.admin_site._registry.get(model), Gated)


class GatedModelAdmin(Gated, ClosedModelAdmin):
    """The admin class of a model that belongs to organizations."""

    open_to_old_sign_ins = ("add_view", "change_view", "delete_view", "changelist_view")

    def is_permitted(self, request, permission, obj=None):
        gate = get_gate(request)
        if obj is not None:
            required = self.required_permission(permission)
            return gate.permits(required, self.get_organization_id(obj))
        if permission in ("view", "change"):
            # Django asks this for the list, and for a page whose object was not found.
            # For such a page, True leads to a redirect and False to a 403. The response
            # is the same whether the object is missing or the person cannot see it.
            # Before Django shows or changes an object, it asks again with the object.
            return gate.has_any("view")
        return self.is_offered(gate, permission)

    def is_offered(self, gate, permission):
        """Return whether to offer "add" or "delete" without a specific object."""
        return gate.has_any(self.required_permission(permission))

    def get_queryset(self, request):
        return self.narrow(super().get_queryset(request), request.user)

    def get_actions(self, request):
        """Return the actions, each limited to the rows on which the person can run it.

        Each action declares the permission that it requires. Django only uses this
        permission to decide whether to offer the action. It then runs the action on all
        selected rows that the person can view.
        """
        actions = {}
        for name, action in super().get_actions(request).items():
            function, _name, description = action
            run = partial(self._run_on_permitted_rows, function)
            run.allowed_permissions = function.allowed_permissions
            actions[name] = (run, name, description)
        return actions

    def _run_on_permitted_rows(self, function, model_admin, request, queryset):
        for permission in function.allowed_permissions:
            queryset = self.narrow(queryset, request.user, permission)
        return function(model_admin, request, queryset)

    # {column of the list: the permission that people need to see it}
    column_permissions = {}

    def may_sort(self, request, permission):
        required = self.required_permission(permission)
        if required == "view" or get_gate(request).permits_everywhere(required):
            return True
        # This runs two queries, because PostgreSQL would read all rows to subtract the
        # results in a single query.
        visible = self.get_queryset(request).order_by()
        keys = set(visible.values_list("pk", flat=True)[: MAX_ROWS_TO_SORT + 1])
        if len(keys) > MAX_ROWS_TO_SORT:
            return False
        known = self.narrow_by(visible, request.user, required)
        return keys <= set(known.values_list("pk", flat=True))

    def knows_all(self, request, permission, rows):
        if permission == "view":
            return True
        return all(self._knows(request, permission, row) for row in rows)

    def knows_some(self, request, permission, rows):
        if permission == "view" or get_gate(request).permits_everywhere(permission):
            return True
        if not rows:
            return get_gate(request).has_any(permission)
        return any(self._knows(request, permission, row) for row in rows)

    def _knows(self, request, permission, row):
        """Return whether the person has a permission on the organization of a row."""
        gate = get_gate(request)
        if gate.permits_everywhere(permission):
            return True
        return gate.permits(permission, self.get_organization_id(row))

    def find_hidden_columns(self, request, rows):
        hidden = set()
        for name, permission in self.column_permissions.items():
            if not any(self._knows(request, permission, row) for row in rows):
                hidden.add(name)
        return hidden

    def prepare_rows(self, request, rows):
        """Load the permissions on the organizations of the rows, if they are needed."""
        required = self._list_permissions(request)
        if required - get_gate(request).permissions_everywhere:
            pks = {self.get_organization_id(row) for row in rows}
            get_gate(request).learn(pks)

    def _list_permissions(self, request):
        """Return the permissions that the actions and columns of the list require."""
        action_permissions = self._list_permissions_of_actions(request)
        return action_permissions.union(self.column_permissions.values())

    def _list_permissions_of_actions(self, request):
        """Return the permissions on organizations that the actions require."""
        required = set()
        for run, _name, _description in self.get_actions(request).values():
            required |= {
                self.required_permission(permission)
                for permission in run.allowed_permissions
            }
        return required

    def find_selectable(self, request, rows):
        selectable = set()
        for permission in self._list_permissions_of_actions(request):
            known = [row for row in rows if self._knows(request, permission, row)]
            selectable.update(row.pk for row in known)
        return selectable

    # Pages that are closed to some people who can view the object

    def change_view(self, request, object_id, form_url="", extra_context=None):
        try:
            return super().change_view(request, object_id, form_url, extra_context)
        except PermissionDenied:
            return self.respond_to_denial(request, object_id, "change")

    def delete_view(self, request, object_id, extra_context=None):
        try:
            return super().delete_view(request, object_id, extra_context)
        except PermissionDenied:
            return self.respond_to_denial(request, object_id, "delete")

    def respond_to_denial(self, request, object_id, page):
        """Respond to a page of Django's admin that the person cannot open.

        Called after Django raised `PermissionDenied`. Raises it again if the object
        does not exist, or if the person cannot view it.
        """
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            raise PermissionDenied
        return self.refuse(request, obj, page)

    def refuse(self, request, obj, page):
        """Explain why the person cannot open a page of an object that they can view.

        If they can no longer view the object, responds as if it were missing.
        """
        if not self.has_view_permission(request, obj):
            return super().refuse(request, obj, page)
        organization = Organization.objects.get(pk=self.get_organization_id(obj))
        if page in STOCK_PAGES:
            permission = self.required_permission(STOCK_PAGES[page])
        else:
            permission = self.pages[page]
        label = self.get_page_label(page)
        response = self.render_page(
            request,
            obj,
            "refused",
            _("You cannot open this page"),
            refusal=explain_refusal(request, label, organization, permission),
        )
        response.status_code = HTTPStatus.FORBIDDEN
        return response

    def read_history(self, request, log_entries, obj):
        """Return the template variables of the history page.

        They are limited to what the person can see.
        """
        organization = Organization.objects.get(pk=self.get_organization_id(obj))
        entries = add_kept_entries(log_entries, obj, newest_first=True)
        page = get_page(request, entries)
        page.object_list = list(page.object_list)
        show_log_entries(page.object_list, organization, get_gate(request))
        return show_page(page)


class GatedOrganizationAdmin(GatedModelAdmin):
    """The base class for the admin class of organizations.

    Deleting organizations and running actions can change the roles of many people, so
    both require a recent sign-in.
    """

    open_to_old_sign_ins = ("add_view", "change_view")

    def required_permission(self, permission):
        return permission

    def get_organization_id(self, obj):
        return obj.pk

    def narrow_by(self, queryset, user, required):
        return queryset.permitted(user, required)

    def read_history(self, request, log_entries, organization):
        """Return the template variables of the history page.

        It shows log entries and changes of fields. ?before=<position> shows the page
        after another one, and ?whole=<key> shows a single change without shortening its
        text.
        """
        gate = get_gate(request)
        whole = request.GET.get("whole", "")
        can_restore = gate.permits("change", organization.pk)
        if is_primary_key(whole):
            entry = read_whole_change(organization, gate, int(whole))
            entries = [entry] if entry else []
            return {
                "action_list": entries,
                "is_whole": True,
                "can_restore": can_restore,
            }
        before = request.GET.get("before", "")
        page = read_history(log_entries, organization, gate, Position.parse(before))
        return {
            "action_list": page.entries,
            "older": page.older,
            "is_newest": not before,
            "can_restore": can_restore,
        }

    def is_offered(self, gate, permission):
        # A person cannot have "add" on an organization that does not exist yet, so the
        # permission must cover all organizations.
        return gate.permits_everywhere(permission)

    def get_fieldsets(self, request, obj=None):
        """Leave out fields that the person cannot see, and fieldsets that are empty."""
        hidden = self._find_hidden_fields(request, obj)
        fieldsets = []
        for title, options in super().get_fieldsets(request, obj):
            fields = [name for name in options["fields"] if name not in hidden]
            if fields:
                fieldsets.append((title, {**options, "fields": fields}))
        return fieldsets

    def _find_hidden_fields(self, request, obj):
        """Return the names of the fields that the person cannot see."""
        gate = get_gate(request)
        if obj is None:
            sees_confidential = gate.permits_everywhere("view_confidential")
        else:
            sees_confidential = gate.permits("view_confidential", obj.pk)
        hidden = set()
        if not sees_confidential:
            hidden.update(CONFIDENTIAL_FIELDS)
        # A new organization does not have groups yet. The name of a group contains a
        # number if another organization has the same name, so only superusers can see
        # it.
        if obj is None or not request.user.is_superuser:
            hidden.update(role.key for role in ROLES)
        return hidden


class GatedTabularInline(Gated, PermissionHooks, SearchedChoices, admin.TabularInline):
    """Rows that belong to an organization, in the form of the organization.

    The form shows only the first rows. `page` is the name of the page below the
    organization that shows all rows, such as "contacts".
    """

    formset = GatedInlineFormSet
    template = "admin/orgadmin/includes/first_rows.html"
    page = ""
    extra = 0
    max_num = MAX_ROWS_SENT

    def is_permitted(self, request, permission, obj=None):
        """Return whether the person has a permission. `obj` is the organization."""
        gate = get_gate(request)
        required = self.required_permission(permission)
        if obj is not None:
            return gate.permits(required, obj.pk)
        # Django does not pass an organization when it asks whether to show inlines at
        # all, and on the page that adds an organization. There, a permission must cover
        # all organizations.
        if permission == "view":
            return gate.has_any("view")
        return gate.permits_everywhere(required)
