"""The page that asks before objects are deleted."""

from django.contrib.admin.utils import NestedObjects
from django.db import router
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext, gettext_lazy as _

# The maximum number of objects that the delete page names. Further ones are counted.
DELETIONS_SHOWN = 100


class DeletePage:
    """Changes Django's page that shows what will be deleted."""

    def get_deleted_objects(self, objs, request):
        """Return what Django's page shows before objects are deleted, without names.

        Returns links to the objects, the number of rows of each model that will be
        deleted (including the objects themselves), the names of the models whose rows
        the person may not delete, and links to rows that prevent the deletion. Django
        would name every related row, and run a query for the name of each.
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
        """Return whether the person can delete the rows.

        Returns True if the model does not have an admin class that can be asked.
        """
        model_admin = self.admin_site._registry.get(model)
        if model_admin is None:
            return True
        return all(model_admin.has_delete_permission(request, row) for row in rows)

    def _list_first(self, objects):
        """Return the names of up to DELETIONS_SHOWN objects, and the number of others.

        Objects with an admin class have a link.
        """
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
    """Passes the user to `delete()`, so that the logs record who deleted an object."""

    def delete_model(self, request, obj):
        self.delete_queryset(request, self.model.objects.filter(pk=obj.pk))

    def delete_queryset(self, request, queryset):
        queryset.delete(actor=request.user)
