"""The admin site: who can enter it, sign-in, the home page, and its URLs."""

from functools import wraps
from http import HTTPStatus
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.cache import patch_cache_control
from django.utils.translation import gettext_lazy as _

from orgadmin.accounts.account_page import account_view, end_session_view
from orgadmin.accounts.company.failure_messages import take_problem
from orgadmin.accounts.company.sign_out import find_used_provider, store_used_provider
from orgadmin.accounts.no_organization import find_own_invitations
from orgadmin.accounts.own_pages import is_own_page
from orgadmin.accounts.redirects import find_wanted_page
from orgadmin.accounts.second_factor import passkeys
from orgadmin.accounts.sessions import sessions
from orgadmin.accounts.step_up import SAFE_METHODS, ask_for_recent_sign_in
from orgadmin.accounts.views import (
    ChangePasswordView,
    SignInView,
    sign_out_elsewhere,
)
from orgadmin.admin.activity import activity_view
from orgadmin.admin.base import ClosedModelAdmin
from orgadmin.admin.gated import Gated
from orgadmin.admin.home.doctor_page import doctor_run_view
from orgadmin.admin.home.feed_items import show_activity
from orgadmin.admin.home.home import describe_home
from orgadmin.admin.members.people_list_log import record_people_suggested
from orgadmin.admin.navigation import list_sections
from orgadmin.admin.search import search_view
from orgadmin.admin.unsent_mail import unsent_mail_view
from orgadmin.gate.answers import get_gate
from orgadmin.models import User
from orgadmin.models.validators import is_primary_key

ONE_HOUR = 60 * 60  # seconds

# The views of the site itself that accept a POST without a recent sign-in. The account
# page asks for a recent sign-in by itself.
OPEN_TO_OLD_SIGN_INS = (
    "logout",
    "sign_out_elsewhere",
    "account_view",
    "end_session_view",
)


class ChoicesView(AutocompleteJsonView):
    """Searches the choices of a field in a form.

    For a gated model, the choices are limited to rows that the person can change.
    """

    def process_request(self, request):
        term, model_admin, source_field, to_field_name = super().process_request(
            request
        )
        if source_field.auto_created:
            # Django would accept a reverse relation here, and fail later.
            raise PermissionDenied
        return term, model_admin, source_field, to_field_name

    def get_queryset(self):
        queryset = super().get_queryset()
        if queryset.model is User:
            record_people_suggested(self.request)
        if isinstance(self.model_admin, Gated):
            return self.model_admin.narrow(queryset, self.request.user, "change")
        return queryset

    def serialize_result(self, obj, to_field_name):
        result = super().serialize_result(obj, to_field_name)
        result["text"] = self.model_admin.describe_choice(obj)
        return result


class OrganizationAdminSite(admin.AdminSite):
    site_header = _("Organizations")
    site_title = _("Organizations")
    # Instead, templates/admin/base_site.html has the navigation of navigation.py.
    enable_nav_sidebar = False
    # There is no other site to link to.
    site_url = None

    def has_permission(self, request):
        """Return whether the person can open the page of a request.

        Superusers, staff, and people who can view any organization can enter the admin.
        Everyone else who is signed in can open only the pages about their own account.
        """
        return is_own_page(request) or self.may_enter(request)

    def may_enter(self, request):
        """Return whether the person can enter the admin.

        On a page of an organization, first loads the permissions on this organization.
        The page needs them anyway. If they include "view", no other query is necessary.
        """
        gate = get_gate(request)
        pk = find_organization_id(request)
        if pk is not None and request.user.is_active:
            gate.permissions_on(pk)
        return gate.may_enter

    def admin_view(self, view, cacheable=False):
        """Protect a view of the admin site, and require a recent sign-in if needed.

        The views of the site are wrapped by this method, except the sign-in page and
        the page activity/. Views in OPEN_TO_OLD_SIGN_INS may require a recent sign-in
        by themselves.
        """

        @wraps(view)
        def protected_view(request, *args, **kwargs):
            if needs_recent_sign_in(request, view, kwargs):
                response = ask_for_recent_sign_in(request)
                if response is not None:
                    return response
            return view(request, *args, **kwargs)

        return super().admin_view(protected_view, cacheable)

    def login(self, request, extra_context=None):
        """Show the sign-in page, or sign someone in.

        Redirects people who open the page although they can already enter the admin.
        """
        may_enter = self.may_enter(request)
        if may_enter and request.method == "GET":
            # The person signed in in another tab, or used the "Back" button.
            return redirect(find_wanted_page(request) or "admin:index")
        context = {
            **self.each_context(request),
            "title": _("Sign in"),
            "app_path": request.get_full_path(),
            "username": request.user.get_username(),
        }
        if request.method == "GET":
            context["problem"] = take_problem(request)
        if may_enter:
            # With a user, the template would tell them that they do not have access.
            context["user"] = None
        return SignInView.as_view(extra_context=context)(request)

    def password_change(self, request, extra_context=None):
        context = {**self.each_context(request), **(extra_context or {})}
        return ChangePasswordView.as_view(extra_context=context)(request)

    def logout(self, request, extra_context=None):
        """Sign out, and tell the browser to delete the pages in its cache."""
        used = None
        if request.method == "POST":
            used = find_used_provider(request)
            sessions.sign_out(request)
        response = super().logout(request, extra_context)
        if used is not None:
            store_used_provider(used, request.session)
            if response.status_code == HTTPStatus.OK:
                # Redirect instead of responding with a page, because the "Back" button
                # cannot return to the response to a form.
                response = redirect("openid_connect_signed_out", used.provider.id)
        response["Clear-Site-Data"] = '"cache"'
        return response

    def each_context(self, request):
        context = super().each_context(request)
        navigation = []
        # This does not run a query, because the list of apps has asked the gate
        # already.
        if self.may_enter(request):
            navigation = list_sections(request, context["available_apps"])
        return {
            **context,
            "navigation": navigation,
            "access_contact": settings.ACCESS_CONTACT,
            "company_providers": settings.OIDC_PROVIDERS,
            "passkeys_available": passkeys.are_available(),
            "second_factor": settings.SECOND_FACTOR,
            "allow_first_password": settings.ALLOW_FIRST_PASSWORD,
        }

    def index(self, request, extra_context=None):
        if SEARCH_VAR in request.GET:
            # In earlier releases, the search used this URL.
            query = urlencode({SEARCH_VAR: request.GET[SEARCH_VAR]})
            return redirect(f"{reverse('admin:search')}?{query}")
        # Django's view is not called, because it would also list the models.
        context = {
            **self.each_context(request),
            **describe_home(request),
            "own_invitations": find_own_invitations(request.user),
        }
        request.current_app = self.name
        return TemplateResponse(request, "admin/index.html", context)

    def get_app_list(self, request, app_label=None):
        """Return Django's list of models, but with organizations first.

        The full list is cached for the request.
        """
        known = getattr(request, "_app_list", None)
        if app_label is None and known is not None:
            return known
        app_list = super().get_app_list(request, app_label)
        for app in app_list:
            app["models"].sort(key=is_not_about_organizations)
        if app_label is None:
            request._app_list = app_list
        return app_list

    def get_log_entries(self, request):
        """Return the recent changes, or none if the person is not a superuser.

        An entry can name an organization that the person cannot view.
        """
        entries = LogEntry.objects.select_related("content_type", "user")
        if not request.user.is_superuser:
            return entries.none()
        # Newest first, by primary key, because the time does not have an index.
        return entries.order_by("-pk")

    def i18n_javascript(self, request, extra_context=None):
        """Allow browsers to cache the translations. Other pages contain data."""
        response = super().i18n_javascript(request, extra_context)
        patch_cache_control(response, private=True, max_age=ONE_HOUR)
        return response

    def get_urls(self):
        """Return Django's URLs and this site's own URLs, without "view on site".

        Django's "view on site" redirects to any object whose model defines
        get_absolute_url(), without checking whether the person can view the object.
        """
        urls = [
            url
            for url in super().get_urls()
            if getattr(url, "name", None) != "view_on_site"
        ]
        own_urls = [
            path("account/", self.admin_view(account_view), name="account"),
            path(
                "account/end-session/",
                self.admin_view(end_session_view),
                name="end_session",
            ),
            path("activity/", activity_view, name="activity"),
            path(
                "sign-out-elsewhere/",
                self.admin_view(sign_out_elsewhere),
                name="sign_out_elsewhere",
            ),
            path("doctor/", self.admin_view(doctor_run_view), name="doctor_run"),
            path("all-activity/", self.admin_view(show_activity), name="all_activity"),
            path("search/", self.admin_view(search_view), name="search"),
            path("unsent-mail/", self.admin_view(unsent_mail_view), name="unsent_mail"),
        ]
        # This site's URLs come first, because Django's last URL matches everything.
        return [*own_urls, *urls]

    def autocomplete_view(self, request):
        return ChoicesView.as_view(admin_site=self)(request)


def needs_recent_sign_in(request, view, kwargs):
    """Return whether a request to a view of the admin site needs a recent sign-in.

    `kwargs` are the arguments of the view from the URL.
    """
    owner = getattr(view, "__self__", None)
    if isinstance(owner, ClosedModelAdmin):
        # `ClosedModelAdmin.open_page()` is the view of many pages.
        name = kwargs.get("page", view.__name__)
        return owner.needs_recent_sign_in(request, name)
    if request.method in SAFE_METHODS:
        return False
    if view.__name__ == "password_change":
        # This page asks for the old password, if there is one. For people with a second
        # factor, the old password is not enough.
        if not request.user.has_usable_password():
            return True
        return bool(request.session.get("second_factor"))
    return view.__name__ not in OPEN_TO_OLD_SIGN_INS


def is_not_about_organizations(model):
    return model["object_name"] != "Organization"


def find_organization_id(request):
    """Return the ID of the organization in the URL of the page, or None."""
    match = request.resolver_match
    if match is None or not match.url_name:
        return None
    if not match.url_name.startswith("orgadmin_organization_"):
        return None
    object_id = match.kwargs.get("object_id", "")
    return int(object_id) if is_primary_key(object_id) else None
