"""Admin classes that ask the rule for everything they show; `checks` refuses any other."""

from contextlib import suppress
from functools import partial
from operator import attrgetter

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.core.exceptions import (
    ObjectDoesNotExist,
    PermissionDenied,
    SuspiciousOperation,
)
from django.db import DatabaseError, IntegrityError, connection
from django.http import HttpResponseRedirect
from django.shortcuts import render
from django.urls import path, reverse
from django.utils.translation import gettext_lazy as _

from orgadmin.access.roles import CONFIDENTIAL_FIELDS, ROLES
from orgadmin.admin.changelist import LIMIT, LimitedPaginator, LongChangeList, get_page
from orgadmin.admin.formsets import GatedInlineFormSet
from orgadmin.admin.merging import MergingForm
from orgadmin.admin.widgets import ChooseManyWidget, ChooseOneWidget
from orgadmin.gate.answers import get_gate, renew_gate
from orgadmin.models import Organization
from orgadmin.models.validators import is_primary_key
from orgadmin.records.history import list_history

SEARCH_LENGTH = 200  # characters


def _ask(action):
    """Return the has_…_permission() of an action: it asks may()."""
    return lambda self, request, obj=None: self.may(request, action, obj)


class Asking:
    """One answer, may(), for whatever Django asks; choices by search, with widgets that stand what is sent to them."""

    has_module_permission = has_view_permission = _ask("view")
    has_add_permission, has_change_permission, has_delete_permission = map(
        _ask, ("add", "change", "delete")
    )

    def formfield_for_dbfield(self, db_field, request, **kwargs):
        if db_field.remote_field and db_field.name in self.get_autocomplete_fields(
            request
        ):
            kwargs["widget"] = (
                ChooseManyWidget if db_field.many_to_many else ChooseOneWidget
            )(db_field, self.admin_site)
        return super().formfield_for_dbfield(db_field, request, **kwargs)


class ClosedModelAdmin(Asking, admin.ModelAdmin):
    """What every page of the site has in common: what one may not see is answered like what does not exist."""

    paginator = LimitedPaginator
    view_on_site = False
    # Pages below an object: name -> the right on its organization, None: superusers only. "people" is people_view().
    pages = {}

    def get_urls(self):
        view, model = (
            self.admin_site.admin_view(self.open_page),
            f"{self.opts.app_label}_{self.opts.model_name}",
        )
        pages = [
            path(f"<path:object_id>/{page}/", view, {"page": page}, f"{model}_{page}")
            for page in self.pages
        ]
        return pages + super().get_urls()

    def open_page(self, request, object_id, page):
        """Show a page below an object to whoever may see it; to others, there is no such object."""
        obj = self.get_object(request, unquote(object_id))
        if obj is not None and self.may_open(request, page, obj):
            with suppress(ObjectDoesNotExist, PermissionDenied):  # since it was asked
                return getattr(self, f"{page}_view")(request, obj)
        return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)

    def may_open(self, request, page, obj):
        if right := self.pages[page]:
            return get_gate(request).permits(right, self.get_organization_id(obj))
        return request.user.is_active and request.user.is_superuser

    def render_change_form(
        self, request, context, add=False, change=False, form_url="", obj=None
    ):
        context["pages"] = [
            page for page in self.pages if obj and self.may_open(request, page, obj)
        ]
        return super().render_change_form(request, context, add, change, form_url, obj)

    def answer(self, request, text, level=messages.SUCCESS, to=None):
        self.message_user(request, text, level)
        return HttpResponseRedirect(to or request.get_full_path())

    def render_page(self, request, obj, template, title, **context):
        """Render a template of templates/admin/orgadmin/<model>/."""
        context = {
            "opts": self.opts,
            "original": obj,
            "title": title,
            "media": self.media,
            **context,
        }
        context = self.admin_site.each_context(request) | context
        return render(
            request, f"admin/orgadmin/{self.opts.model_name}/{template}.html", context
        )

    def changelist_view(self, request, extra_context=None):
        if not all(map(is_primary_key, request.POST.getlist(ACTION_CHECKBOX_NAME))):
            raise SuspiciousOperation("A selected row has no key that could be one.")
        return super().changelist_view(request, extra_context)

    def get_changelist(self, request, **kwargs):
        return LongChangeList

    def response_action(self, request, queryset, **kwargs):  # Django 6.1 gives more
        if (
            request.POST.get("select_across", "0") not in ("", "0")
            and queryset.order_by()[LIMIT:].exists()
        ):
            text = _(
                "These are more than %d rows, too many for one action. Search or filter the list first."
            )
            return self.message_user(request, text % LIMIT, messages.WARNING)
        return super().response_action(request, queryset, **kwargs)

    def get_form(self, request, obj=None, **kwargs):
        form = super().get_form(request, obj, **kwargs)  # a class of this request's own
        form.user = request.user
        return form

    def get_queryset(self, request):
        """Return the rows; those that are saved are locked, so that what is asked is what is saved."""
        queryset, saving = super().get_queryset(request), self._is_saving(request)
        return (
            queryset.select_for_update(no_key=True, of=["self"]) if saving else queryset
        )

    def get_object(self, request, object_id, from_field=None):
        obj = super().get_object(
            request, object_id, from_field or None
        )  # an empty one breaks Django's
        if obj is None or not self._is_saving(request):
            return obj
        renew_gate(
            request
        )  # what was asked before the wait for the lock may be so no more
        return obj if self.has_view_permission(request, obj) else None

    def _is_saving(self, request):
        return request.method == "POST" and connection.in_atomic_block

    def save_model(self, request, obj, form, change):
        """Save what was changed, and nothing else of what the page showed."""
        obj._history_user, columns = (
            request.user,
            {field.name for field in self.opts.concrete_fields},
        )
        obj.save(
            **(
                {"update_fields": columns.intersection(form.changed_data)}
                if change
                else {}
            )
        )
        if merged := getattr(form, "merged", None):
            text = _(
                "Somebody else changed meanwhile, and you kept: %s. See the history."
            ) % ", ".join(merged)
            self.message_user(request, text)

    def changeform_view(self, request, object_id=None, form_url="", extra_context=None):
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except (
            ObjectDoesNotExist,
            DatabaseError,
        ) as error:  # changed or deleted while it was being saved
            if isinstance(error, DatabaseError) and type(error) not in (
                DatabaseError,
                IntegrityError,
            ):
                raise
            if object_id:
                return self._get_obj_does_not_exist_redirect(
                    request, self.opts, object_id
                )
            text = _(
                "Somebody changed or deleted what this belongs to meanwhile. Nothing was saved: try again."
            )
            return self.answer(request, text, messages.WARNING)

    def get_search_results(self, request, queryset, search_term):
        """Search for what a person types: each word is a condition, and no database takes a thousand, or a NUL."""
        return super().get_search_results(
            request, queryset, search_term.replace("\0", " ")[:SEARCH_LENGTH]
        )

    def lookup_allowed(self, lookup, value, request=None):
        """Allow the lookups of the declared filters and no others: each field is a question, and regex a weapon."""
        filters = [
            item[0] if isinstance(item, tuple | list) else item
            for item in self.get_list_filter(request)
        ]
        filters = [getattr(item, "parameter_name", item) for item in filters]
        return (
            lookup.removesuffix("__exact").removesuffix("__isnull").removesuffix("__id")
            in filters
        )

    def _get_obj_does_not_exist_redirect(self, request, opts, object_id):
        text = _("There is no %(name)s “%(key)s”, or you may no longer see it.")
        text, start = (
            text % {"name": opts.verbose_name, "key": unquote(object_id)},
            reverse("admin:index"),
        )
        return self.answer(request, text, messages.WARNING, start)


class SuperuserOnlyAdmin(ClosedModelAdmin):
    """The admin of what only superusers may know: for everybody else it has no rows, no pages and no name."""

    filter_horizontal = ()  # its two boxes are not for who does not see

    def may(self, request, action, obj=None):
        return request.user.is_active and request.user.is_superuser

    def get_queryset(self, request):
        queryset = super().get_queryset(request)
        return queryset if self.may(request, "view") else queryset.none()


class Gated:
    """Of organizations, and what belongs to them: `organization_path` leads to the organization, "" is that itself."""

    organization_path = None
    form = MergingForm

    def right_for(self, action):
        """Return the right on the organization that `action` takes: who may change it changes what belongs to it."""
        return action if self.organization_path == "" or action == "view" else "change"

    def get_organization_id(self, obj):
        return (
            attrgetter(f"{self.organization_path}_id".replace("__", "."))(obj)
            if self.organization_path
            else obj.pk
        )

    def narrow(self, queryset, user, action="view"):
        """Return the rows of `queryset` on which `user` may do `action`."""
        if self.organization_path == "":
            return queryset.permitted(user, action)
        right = self.right_for(action)
        if right in Organization.objects.permissions_everywhere(user):
            return queryset
        organizations = Organization.objects.permitted(user, right)
        return queryset.filter(
            **{f"{self.organization_path}__in": organizations.order_by().values("pk")}
        )

    def get_field_queryset(self, db, db_field, request):
        """Offer what a person may change, to a superuser anything; in a page of it, no other."""
        model, user = db_field.remote_field.model, request.user
        choices, found = (
            model._default_manager.all(),
            self.admin_site._registry.get(model),
        )
        if isinstance(found, Gated) and model is not getattr(
            self, "parent_model", None
        ):
            return found.narrow(choices, user, "change")
        return choices if user.is_active and user.is_superuser else choices.none()

    def get_autocomplete_fields(self, request):
        """Search where the choices are organizations, or what belongs to them: there may be a million."""
        related = {
            field.name: field.remote_field.model
            for field in self.opts.fields
            if field.remote_field
        }
        return [
            name
            for name, model in related.items()
            if isinstance(self.admin_site._registry.get(model), Gated)
        ]


class GatedModelAdmin(Gated, ClosedModelAdmin):
    """The admin of organizations and of what belongs to them: rows, pages and changes as far as the rule permits."""

    def get_queryset(self, request):
        return self.narrow(super().get_queryset(request), request.user)

    def may(self, request, action, obj=None):
        gate, right = get_gate(request), self.right_for(action)
        if obj is not None:
            return gate.permits(right, self.get_organization_id(obj))
        # Without an object: may the list be opened, and is an id that is foreign or none answered by "there is none"
        # (302) or "not here" (403)? Alike for both, once there is a list; each object that is changed is asked about.
        if action in ("view", "change"):
            return gate.has_any("view")
        return (
            gate.has_any(right)
            if self.organization_path
            else gate.permits_everywhere(right)
        )

    def get_fieldsets(self, request, obj=None):
        """Leave out what the person may not see of an organization: confidential fields, and its groups."""
        gate, hidden = get_gate(request), set()
        if self.organization_path == "":
            hidden |= (
                set(CONFIDENTIAL_FIELDS)
                if not (
                    gate.permits("view_confidential", obj.pk)
                    if obj
                    else gate.permits_everywhere("view_confidential")
                )
                else set()
            )
            hidden |= (
                {role.key for role in ROLES}
                if not (obj and request.user.is_superuser)
                else set()
            )
        return [
            (title, {**options, "fields": fields})
            for title, options in super().get_fieldsets(request, obj)
            if (fields := [name for name in options["fields"] if name not in hidden])
        ]

    def history_view(self, request, object_id, extra_context=None):
        response = super().history_view(request, object_id, extra_context)
        if context := getattr(response, "context_data", None):
            obj = context["object"]
            organization = (
                Organization.objects.get(pk=self.get_organization_id(obj))
                if self.organization_path
                else obj
            )
            entries = list(context["action_list"].paginator.object_list)
            page = get_page(
                request,
                list_history(entries, self.model, organization, get_gate(request)),
            )
            context |= {
                "action_list": page,
                "page_range": page.numbers,
                "pagination_required": page.has_other_pages(),
            }
        return response

    def get_actions(self, request):
        """Narrow what an action gets to the rows on which the person may do what it declares: Django asks of none."""

        def narrowed(function, modeladmin, request, queryset):
            for action in function.allowed_permissions:
                queryset = self.narrow(queryset, request.user, action)
            return function(modeladmin, request, queryset)

        actions = super().get_actions(request)
        return {
            name: (partial(narrowed, function), *rest)
            for name, (function, *rest) in actions.items()
        }


class GatedTabularInline(Gated, Asking, admin.TabularInline):
    """Rows that belong to an organization, in its page: whoever may change it adds, changes and deletes them."""

    formset = GatedInlineFormSet
    extra = 0

    def may(self, request, action, obj):
        gate, right = get_gate(request), self.right_for(action)
        if (
            obj is None
        ):  # a page to add an organization, or Django asks whether there is something to show
            return (
                gate.has_any(right)
                if action == "view"
                else gate.permits_everywhere(right)
            )
        return gate.permits(right, obj.pk)


class ActingDelete:
    """Delete in the name of who does it, for the ledger and the history."""

    def delete_model(self, request, obj):
        self.delete_queryset(request, self.model.objects.filter(pk=obj.pk))

    def delete_queryset(self, request, queryset):
        queryset.delete(actor=request.user)
