"""The page that asks before objects are deleted."""

from django.contrib.admin.utils import NestedObjects
from django.db import router
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext, gettext_lazy as _

# How many objects the delete page names. The others are only counted.
DELETIONS_SHOWN = 100


class DeletePage:
    """Django's page that shows what will be deleted."""

    def get_deleted_objects(self, objs, request):
        """Name the objects, and count what will be deleted with them.

        Django would show every related row, and query the database for its name.
        """
        collector = NestedObjects(router.db_for_write(self.model))
        collector.collect(objs)
        numbers = {}
        missing_permissions = set()
        for model, rows in collector.data.items():
            name = gettext(str(model._meta.verbose_name_plural))
            numbers[name] = len(rows)
            if not self._may_delete(request, model, rows):
                missing_permissions.add(model._meta.verbose_name)
        lines = self._list_first(objs)
        protected = self._list_first(collector.protected)
        return lines, numbers, missing_permissions, protected

    def _may_delete(self, request, model, rows):
        """Return whether the person may delete rows, as far as the model has pages."""
        model_admin = self.admin_site._registry.get(model)
        if model_admin is None:
            return True
        return all(model_admin.has_delete_permission(request, row) for row in rows)

    def _list_first(self, objects):
        """Return DELETIONS_SHOWN objects as links, and how many more there are."""
        objects = list(objects)
        lines = [self._describe_with_link(obj) for obj in objects[:DELETIONS_SHOWN]]
        more = len(objects) - DELETIONS_SHOWN
        if more > 0:
            lines.append(_("… and %d more") % more)
        return lines

    def _describe_with_link(self, obj):
        name = capfirst(obj._meta.verbose_name)
        if type(obj) not in self.admin_site._registry:
            return f"{name}{_(':')} {obj}"
        link = self.get_change_url(obj)
        label = f"{name}{_(':')}"
        return format_html('{} <a href="{}">{}</a>', label, link, obj)


class DeletesAsActor:
    """Passes the user to `delete()`, for the membership log and the history."""

    def delete_model(self, request, obj):
        self.delete_queryset(request, self.model.objects.filter(pk=obj.pk))

    def delete_queryset(self, request, queryset):
        queryset.delete(actor=request.user)
