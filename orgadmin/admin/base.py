"""The base class of every admin class on this site.

The class is closed by default: a request for an object that the person cannot see gets
the same response as a request for an object that does not exist. Subclasses decide who
can do what: `gated.GatedModelAdmin` asks the access rule, and `SuperuserOnlyAdmin`
allows only superusers. System checks refuse any other admin class.
"""

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import (
    ObjectDoesNotExist,
    PermissionDenied,
    SuspiciousOperation,
)
from django.db import connection
from django.db.models import TextField
from django.forms import Media
from django.http import HttpResponseRedirect
from django.shortcuts import render
from django.urls import path, reverse
from django.utils.translation import gettext_lazy as _

from orgadmin.access.rule import SUPERUSERS_ONLY, is_active_superuser
from orgadmin.accounts.step_up import SAFE_METHODS
from orgadmin.admin.delete_page import DeletePage
from orgadmin.admin.form_page import FormPage
from orgadmin.admin.history_page import HistoryPage
from orgadmin.admin.last_admin import REFUSALS, describe_refusal
from orgadmin.admin.lists.changelist import (
    LimitedPaginator,
    LongChangeList,
    has_more_rows_than,
)
from orgadmin.admin.lists.lookups import is_declared
from orgadmin.admin.once import SENT_TWICE, AlreadySent, make_form_key
from orgadmin.admin.record_pages import RecordPages
from orgadmin.admin.widgets import ChooseManyWidget, ChooseOneWidget
from orgadmin.gate.answers import get_gate, renew_gate
from orgadmin.models.validators import is_primary_key

# The maximum number of characters of a search that are used. Each word adds a condition
# to the query, and databases refuse a query with a thousand conditions.
MAX_SEARCH_LENGTH = 200

# The maximum number of rows that an action can change at once. The page that asks for
# confirmation sends a field for each row, and Django refuses a request with more than a
# thousand fields.
ACTION_LIMIT = 500

# The pages of Django's admin, as {name: required permission on the object}
STOCK_PAGES = {"change": "change", "delete": "delete", "history": "view"}


def clean_search(text):
    """Return a search text, shortened and without characters that databases refuse."""
    # PostgreSQL refuses strings with a NUL character.
    return text.replace("\0", " ")[:MAX_SEARCH_LENGTH]


def list_scripts():
    """Return the names of the scripts that the pages of objects and lists need."""
    jquery = "vendor/jquery/jquery" if settings.DEBUG else "vendor/jquery/jquery.min"
    return [jquery, "jquery.init", "core", "admin/RelatedObjectLookups", "actions"]


class PermissionHooks:
    """Implements all permission methods of Django's admin with one method.

    Subclasses define this method:

        def is_permitted(self, request, permission, obj=None): ...

    `permission` is "view", "add", "change" or "delete". If `obj` is None, Django asks
    about the list, the page that adds an object, or the model as a whole.
    """

    def has_module_permission(self, request):
        return self.is_permitted(request, "view")

    def has_view_permission(self, request, obj=None):
        return self.is_permitted(request, "view", obj)

    def has_add_permission(self, request, obj=None):
        return self.is_permitted(request, "add", obj)

    def has_change_permission(self, request, obj=None):
        return self.is_permitted(request, "change", obj)

    def has_delete_permission(self, request, obj=None):
        return self.is_permitted(request, "delete", obj)


class SearchedChoices:
    """Uses widgets that search for related objects, and that ignore invalid keys."""

    def formfield_for_dbfield(self, db_field, request, **kwargs):
        if self._is_searched(db_field, request):
            widget = ChooseManyWidget if db_field.many_to_many else ChooseOneWidget
            kwargs["widget"] = widget(db_field, self.admin_site)
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def _is_searched(self, db_field, request):
        if not db_field.remote_field:
            return False
        return db_field.name in self.get_autocomplete_fields(request)


class ClosedModelAdmin(
    PermissionHooks,
    SearchedChoices,
    RecordPages,
    FormPage,
    DeletePage,
    HistoryPage,
    admin.ModelAdmin,
):
    """The base class of all admin classes of the site.

    `pages` lists the pages below an object, as {name: permission}. To open a page,
    people need this permission on the object's organization. With SUPERUSERS_ONLY, only
    superusers can open the page. Each page is shown by a method: the page "people", for
    example, by `people_view(request, obj)`.
    """

    pages = {}
    paginator = LimitedPaginator

    # The title of the list. By default, this is the plural name of the model.
    list_title = ""

    # The ways in which the list can be sorted, as {name in the URL: Sort}. If None, the
    # list can be sorted by its sortable columns.
    sorts = None

    # The column of an index that contains exactly the rows of the list without filters.
    # If "", the list contains all rows of the table.
    count_column = ""
    view_on_site = False

    # The names of views and pages in which people can change something even if their
    # last sign-in is not recent, such as "change_view". All others, including those
    # that are added later, ask people to sign in again. A system check allows this only
    # for organizations, and for models that belong to organizations and do not refer to
    # people or groups.
    open_to_old_sign_ins = ()

    # The views that require a recent sign-in before they show anything. People upload a
    # file there, and a file cannot be stored while they sign in again.
    closed_to_old_sign_ins = ()

    @property
    def media(self):
        """The scripts of pages.

        Django's scripts that fill in a field from another field are large, so they are
        included only if `prepopulated_fields` is set.
        """
        if self.prepopulated_fields:
            return super().media
        return Media(js=[f"admin/js/{name}.js" for name in list_scripts()])

    def needs_recent_sign_in(self, request, name):
        """Return whether a request to a view or page needs a recent sign-in."""
        if request.method in SAFE_METHODS:
            return name in self.closed_to_old_sign_ins
        return name not in self.open_to_old_sign_ins

    # Pages below an object

    def get_urls(self):
        view = self.admin_site.admin_view(self.open_page)
        url_name = f"{self.opts.app_label}_{self.opts.model_name}"
        urls = [
            path(
                f"<path:object_id>/{page}/",
                view,
                {"page": page},
                name=f"{url_name}_{page}",
            )
            for page in self.pages
        ]
        return urls + super().get_urls()

    def open_page(self, request, object_id, page):
        """Show a page below an object.

        If the person cannot view the object, the response is the same as for a missing
        object. If they can view the object but not open the page, `refuse()` responds.
        """
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if not self.can_open(request, page, obj):
            return self.refuse(request, obj, page)
        view = getattr(self, f"{page}_view")
        try:
            return view(request, obj)
        except AlreadySent as error:
            return self.respond_to_second(request, error.location)
        except REFUSALS as error:
            return self.respond_to_refusal(request, error)
        except ObjectDoesNotExist:
            # The object, or a related row, was deleted after it was loaded.
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        except PermissionDenied:
            # The person's access ended after it was checked.
            renew_gate(request)
            return self.refuse(request, obj, page)

    def can_open(self, request, page, obj):
        """Return whether the person can open a page of an object that they can view."""
        if page in STOCK_PAGES:
            return self.is_permitted(request, STOCK_PAGES[page], obj)
        permission = self.pages[page]
        if permission is SUPERUSERS_ONLY:
            return is_active_superuser(request.user)
        return get_gate(request).permits(permission, self.get_organization_id(obj))

    def render_delete_form(self, request, context):
        context |= self.describe_record(request, context["object"])
        return super().render_delete_form(request, context)

    def refuse(self, request, obj, page):
        """Respond to a page that the person cannot open, as if the object were missing.

        `Gated` classes explain more if the person can view the object.
        """
        key = str(obj.pk)
        return self._get_obj_does_not_exist_redirect(request, self.opts, key)

    def render_change_form(
        self, request, context, add=False, change=False, form_url="", obj=None
    ):
        """Add the names of the pages that the person can open, and other variables."""
        context["pages"] = []
        if obj is not None:
            context["pages"] = [
                page for page in self.pages if self.can_open(request, page, obj)
            ]
            context.update(self.describe_record(request, obj))
        return super().render_change_form(request, context, add, change, form_url, obj)

    # Responses

    def redirect_with_message(self, request, text, level=messages.SUCCESS, to=None):
        """Redirect to the URL `to`, or reload the page, and show a message there."""
        self.message_user(request, text, level)
        return HttpResponseRedirect(to or request.get_full_path())

    def respond_to_second(self, request, location):
        """Respond to a form that was sent twice, with a redirect to what was saved."""
        return self.redirect_with_message(
            request, SENT_TWICE, messages.WARNING, location
        )

    def respond_to_refusal(self, request, error):
        """Respond to a change that the guards refused. Reloads the page."""
        text = describe_refusal(error, request.user)
        return self.redirect_with_message(request, text, messages.ERROR)

    def render_page(self, request, obj, template, title, **context):
        """Render a template in templates/admin/orgadmin/<model>/.

        If the template does not exist there, uses the one in templates/admin/orgadmin/.
        Pages with fields that need Django's scripts, such as fields that search, pass
        the scripts as `media`.
        """
        page_context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": obj,
            "title": title,
            "form_key": make_form_key(request),
            **self.describe_record(request, obj),
            **context,
        }
        template_names = [
            f"admin/orgadmin/{self.opts.model_name}/{template}.html",
            f"admin/orgadmin/{template}.html",
        ]
        return render(request, template_names, page_context)

    def get_change_url(self, obj):
        url_name = f"admin:{obj._meta.app_label}_{obj._meta.model_name}_change"
        return reverse(url_name, args=[quote(obj.pk)])

    def _get_obj_does_not_exist_redirect(self, request, opts, object_id):
        """Respond to an object that is missing, or that the person cannot see.

        Django also calls this method for its own pages.
        """
        text = _("There is no %(name)s “%(key)s”, or you no longer have access to it.")
        values = {"name": opts.verbose_name, "key": unquote(object_id)}
        return self.redirect_with_message(
            request, text % values, messages.WARNING, reverse("admin:index")
        )

    # Lists and choices

    def changelist_view(self, request, extra_context=None):
        """Show the list, or run an action.

        Raises `SuspiciousOperation` if the key of a selected row is not a number.
        Django would query the database for any key in the request, and some keys make
        the query fail.
        """
        keys = request.POST.getlist(ACTION_CHECKBOX_NAME)
        if not all(is_primary_key(key) for key in keys):
            raise SuspiciousOperation("The key of a selected row is not a number.")
        return super().changelist_view(request, extra_context)

    def get_changelist(self, request, **kwargs):
        return LongChangeList

    def narrow_by(self, queryset, user, required):
        """Return the rows with an organization on which the user has a permission.

        This method and those below do not ask the rule, because only rows of `Gated`
        classes belong to organizations. `Gated` classes override them.
        """
        return queryset

    def may_sort(self, request, permission):
        """Return whether the person has a permission on all rows that they can view.

        If this takes too long to find out, returns False.
        """
        return True

    def knows_all(self, request, permission, rows):
        """Return whether the person has a permission on all of these rows."""
        return True

    def knows_some(self, request, permission, rows):
        """Return whether the person has a permission on any of these rows.

        Without rows, returns whether they have it on anything.
        """
        return True

    def find_hidden_columns(self, request, rows):
        """Return the names of columns that are empty or that the person cannot see."""
        return set()

    def prepare_rows(self, request, rows):
        """Load what the columns show besides the fields of the rows."""

    def find_selectable(self, request, rows):
        """Return the primary keys of the rows on which the person can run an action."""
        if not self.get_actions(request):
            return set()
        return {row.pk for row in rows}

    def leave_out_long_texts(self, rows):
        """Return the rows of a list without the texts that the list does not show.

        Otherwise, a page of the list could load megabytes of text.
        """
        names = [
            field.name
            for field in self.opts.concrete_fields
            if isinstance(field, TextField) and field.name not in self.list_display
        ]
        return rows.defer(*names)

    def response_action(self, request, queryset, **kwargs):
        """Run an action, unless "select all" selects more than ACTION_LIMIT rows.

        In this case, returns None, and Django shows the list again with a message.
        Django 6.1 passes more arguments, so the method accepts any `kwargs`.
        """
        if self._selects_all(request) and has_more_rows_than(ACTION_LIMIT, queryset):
            text = _(
                "More than %d rows are selected, which is too many for one action."
                " Search or filter the list first."
            )
            self.message_user(request, text % ACTION_LIMIT, messages.WARNING)
            return None
        return super().response_action(request, queryset, **kwargs)

    def _selects_all(self, request):
        """Return whether an action applies to the rows on all pages of the list."""
        return request.POST.get("select_across", "0") not in ("", "0")

    def get_search_results(self, request, queryset, search_term):
        """Search within `queryset`. Accepts any text that people can type."""
        text = clean_search(search_term)
        return super().get_search_results(request, queryset, text)

    def describe_choice(self, obj):
        """Return a text that identifies an object in a list of choices."""
        return str(obj)

    def lookup_allowed(self, lookup, value, request=None):
        """Return whether a lookup belongs to a declared filter.

        By default, Django allows everyone to filter by any field of the model. People
        could guess the values of confidential fields that way, and a slow regular
        expression could block the server.
        """
        declared = self.get_list_filter(request)
        return is_declared(lookup, value, declared, self.model)

    # Loading and saving

    def get_queryset(self, request):
        """Return the rows. Locks them if the request saves an object.

        Without the lock, a row could change between the checks and the save.
        """
        queryset = super().get_queryset(request)
        if self._is_saving(request):
            return queryset.select_for_update(no_key=True, of=["self"])
        return queryset

    def get_object(self, request, object_id, from_field=None):
        """Return the object, or None if it is missing or the person cannot view it."""
        # Django fails on the empty field name of "?_to_field=".
        obj = super().get_object(request, object_id, from_field or None)
        if obj is None or not self._is_saving(request):
            return obj
        # The query may have waited for a lock. The gate remembers answers from before
        # the wait, so ask it again.
        renew_gate(request)
        if not self.has_view_permission(request, obj):
            return None
        return obj

    def _is_saving(self, request):
        """Return whether this is a POST to a view that saves or deletes an object.

        Django runs these views in a transaction.
        """
        return request.method == "POST" and connection.in_atomic_block


class SuperuserOnlyAdmin(ClosedModelAdmin):
    """The base class for models that only superusers can see.

    Other people see neither the rows and pages nor the name of the model. `UserAdmin`
    overrides `is_permitted()`, because delegated staff can see people.
    """

    # Django's widget with two boxes would load all choices, so it is not used.
    filter_horizontal = ()

    def is_permitted(self, request, permission, obj=None):
        return is_active_superuser(request.user)

    def get_queryset(self, request):
        queryset = super().get_queryset(request)
        if not self.is_permitted(request, "view"):
            return queryset.none()
        return queryset
