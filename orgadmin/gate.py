"""Admin classes that ask the rule for everything they show."""

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from .access import gate_of


class ClosedModelAdmin(admin.ModelAdmin):
    """What every page of the site has in common: what one may not see is answered like what does not exist."""

    show_full_result_count = False
    view_on_site = False

    def lookup_allowed(self, lookup, value, request=None):
        """Allow the lookups of the declared filters and no others: each field is a question, and regex a weapon."""
        filters = [item if isinstance(item, str) else item[0] for item in self.get_list_filter(request)]
        return lookup.removesuffix("__exact").removesuffix("__isnull") in filters

    def _get_obj_does_not_exist_redirect(self, request, opts, object_id):
        text = _("There is no %(name)s “%(key)s”, or you may no longer see it. Here is what you may see.")
        self.message_user(request, text % {"name": opts.verbose_name, "key": unquote(object_id)}, messages.WARNING)
        return HttpResponseRedirect(reverse("admin:index", current_app=self.admin_site.name))


class GatedModelAdmin(ClosedModelAdmin):
    """The admin of Organization: rows, pages and changes as far as the rule permits."""

    def get_queryset(self, request):
        return super().get_queryset(request).permitted(request.user)

    # Without an object the question is whether the list may be opened, and whether an id that does not exist, or that
    # is foreign, is answered with "there is none" (302) or with "not here" (403). Alike for both, so True as soon as
    # there is a list; what may be changed is asked again for each object.

    def has_module_permission(self, request):
        return gate_of(request).sees_any

    def has_view_permission(self, request, obj=None):
        return gate_of(request).sees_any if obj is None else gate_of(request).permits("view", obj)

    def has_change_permission(self, request, obj=None):
        return gate_of(request).sees_any if obj is None else gate_of(request).permits("change", obj)

    def has_add_permission(self, request):
        return gate_of(request).permits_everywhere("add")

    def has_delete_permission(self, request, obj=None):
        gate = gate_of(request)
        return gate.permits_everywhere("delete") if obj is None else gate.permits("delete", obj)


class SuperuserOnlyAdmin(ClosedModelAdmin):
    """The admin of what only superusers may know: for everybody else it has no rows, no pages and no name."""

    def get_queryset(self, request):
        queryset = super().get_queryset(request)
        return queryset if self._is_superuser(request) else queryset.none()

    def _is_superuser(self, request):
        return request.user.is_active and request.user.is_superuser

    def has_module_permission(self, request):
        return self._is_superuser(request)

    def has_view_permission(self, request, obj=None):
        return self._is_superuser(request)

    def has_add_permission(self, request):
        return self._is_superuser(request)

    def has_change_permission(self, request, obj=None):
        return self._is_superuser(request)

    def has_delete_permission(self, request, obj=None):
        return self._is_superuser(request)
