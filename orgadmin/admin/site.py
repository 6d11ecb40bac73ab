"""The admin site."""

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.core.exceptions import PermissionDenied
from django.shortcuts import redirect
from django.utils.cache import patch_cache_control
from django.utils.translation import gettext_lazy as _

from orgadmin.accounts.views import SignInView
from orgadmin.admin.home import list_cards, search
from orgadmin.gate.answers import get_gate
from orgadmin.models.validators import is_primary_key


class ChoicesView(AutocompleteJsonView):
    """What may be chosen: of rows that one may only see, none."""

    def process_request(self, request):
        found = super().process_request(request)
        if found[
            2
        ].auto_created:  # a reverse relation, which would end in an error page
            raise PermissionDenied
        return found

    def serialize_result(self, obj, to_field_name):
        describe = getattr(self.model_admin, "describe_choice", str)
        return super().serialize_result(obj, to_field_name) | {"text": describe(obj)}

    def get_queryset(self):
        queryset, narrow = (
            super().get_queryset(),
            getattr(self.model_admin, "narrow", None),
        )
        return narrow(queryset, self.request.user, "change") if narrow else queryset


class OrganizationAdminSite(admin.AdminSite):
    site_header = site_title = _("Organizations")
    enable_nav_sidebar = (
        False  # a few models; on each page it would move what is beside it
    )
    site_url = None  # there is no other site to view

    def has_permission(self, request):
        gate, page = get_gate(request), request.resolver_match
        is_ours = page and (page.url_name or "").startswith("orgadmin_organization_")
        pk = page.kwargs.get("object_id", "") if is_ours else ""
        if is_primary_key(pk) and request.user.is_active:
            gate.permissions_on(
                int(pk)
            )  # whoever may see this one may enter: asked once
        return gate.may_enter

    def login(self, request, extra_context=None):
        again = self.has_permission(request)
        if again and request.method == "GET" and "next" not in request.GET:
            return redirect("admin:index")
        about = {
            "title": _("Sign in"),
            "app_path": request.get_full_path(),
            "username": request.user.get_username(),
        }
        about |= (
            {"user": None} if again else {}
        )  # who signs in again is not told of lacking rights
        return SignInView.as_view(extra_context=self.each_context(request) | about)(
            request
        )

    def each_context(self, request):
        shown = ("ACCESS_CONTACT", "OIDC_SERVER", "OIDC_NAME", "SECOND_FACTOR")
        return super().each_context(request) | {
            name.lower(): getattr(settings, name) for name in shown
        }

    def index(self, request, extra_context=None):
        cards = list_cards(request)
        title = _("Your organizations") if cards else self.site_title
        return super().index(
            request, {"cards": cards, "title": title, "found": search(request, self)}
        )

    def get_log_entries(self, request):
        """Return what changed lately, for superusers: it names any organization. Others have cards and histories."""
        entries = LogEntry.objects.select_related("content_type", "user").order_by(
            "-pk"
        )  # as the index is
        return entries if request.user.is_superuser else entries.none()

    def i18n_javascript(self, request, extra_context=None):
        response = super().i18n_javascript(request, extra_context)
        patch_cache_control(
            response, private=True, max_age=60 * 60
        )  # words only: all that a browser may keep
        return response

    def get_urls(self):
        # "View on site" redirects to any object of any model that has an address of its own, asking nobody.
        return [
            url
            for url in super().get_urls()
            if getattr(url, "name", "") != "view_on_site"
        ]

    def autocomplete_view(self, request):
        return ChoicesView.as_view(admin_site=self)(request)
