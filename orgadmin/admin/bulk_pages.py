"""The pages that change the roles of many at once, for superusers."""

from django.http import JsonResponse
from django.shortcuts import redirect
from django.urls import path

from orgadmin.access.rule import is_active_superuser
from orgadmin.admin.suggestions import suggest_anyone


class BulkPages:
    """The pages beside the list of people that change many roles."""

    def get_urls(self):
        protect = self.admin_site.admin_view
        urls = [
            path("suggest/", protect(self.suggest_view), name="orgadmin_user_suggest")
        ]
        return urls + super().get_urls()

    def suggest_view(self, request):
        """Suggest people to a superuser who types a name."""
        if not is_active_superuser(request.user):
            return self._respond_as_if_missing("suggest")
        return JsonResponse({"suggestions": suggest_anyone(request, self.admin_site)})

    def _respond_as_if_missing(self, name):
        """Respond as to an address below the list that leads nowhere.

        Django takes what follows for a key, and redirects to the form of this object.
        """
        return redirect("admin:orgadmin_user_change", name)
