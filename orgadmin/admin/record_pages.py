"""The pages of a single object, with their labels, URLs and tabs."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.admin.utils import quote
from django.http import HttpResponseRedirect
from django.urls import get_script_prefix, get_urlconf, reverse
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


# The labels of the pages of Django's admin, as {name of the page: label}
STOCK_LABELS = {
    "change": _("Edit"),
    "delete": _("Delete"),
    "history": _("History"),
}


@dataclass(frozen=True)
class Tab:
    """A tab at the top of the pages of an object."""

    label: "StrOrPromise"
    url: str
    is_current: bool


# Stands for the primary key of an object in a URL.
PLACEHOLDER = "0"


def make_page_url(name, pk):
    """Return the URL of a page of the object with the primary key `pk`.

    Pages have many such links, which differ only in the primary key. To save time,
    Django resolves the URL only once for each name.
    """
    urlconf = get_urlconf() or settings.ROOT_URLCONF
    before, after = split_page_url(name, urlconf, get_script_prefix())
    return f"{before}{quote(pk)}{after}"


@lru_cache
def split_page_url(name, _urlconf, _script_prefix):
    """Return the parts of a URL before and after the primary key.

    The URL depends on all arguments, although some are not used here, so they belong to
    the key of the cache.
    """
    url = reverse(name, args=[PLACEHOLDER])
    before, _separator, after = url.rpartition(f"/{PLACEHOLDER}/")
    return f"{before}/", f"/{after}"


class RecordPages:
    """Adds labels and tabs to the pages of an object.

    The pages are those in `pages`, and the pages of Django's admin: "change", "delete"
    and "history". `tabs` is {page: label}, in the order of the tabs. `page_labels`
    contains the labels of pages without a tab, and `parent_tabs` the tab that is
    highlighted on such a page.
    """

    tabs = {}
    page_labels = {}
    parent_tabs = {}

    def get_page_url(self, page, obj):
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return make_page_url(name, obj.pk)

    def get_record_url(self, obj):
        """Return the URL of the page that shows an object."""
        page = "overview" if "overview" in self.pages else "change"
        return self.get_page_url(page, obj)

    def get_page_label(self, page):
        """Return the label of a page."""
        label = self.tabs.get(page) or self.page_labels.get(page)
        return label or STOCK_LABELS.get(page, self.opts.verbose_name)

    def find_open_page(self, request):
        """Return the name of the page that the request asks for, or ""."""
        match = request.resolver_match
        if match is None or match.url_name is None:
            return ""
        prefix = f"{self.opts.app_label}_{self.opts.model_name}_"
        return match.url_name.removeprefix(prefix)

    def list_tabs(self, request, obj):
        """Return the tabs that the person can open."""
        page = self.find_open_page(request)
        current = self.parent_tabs.get(page, page)
        return [
            Tab(label, self.get_page_url(name, obj), name == current)
            for name, label in self.tabs.items()
            if self.can_open(request, name, obj)
        ]

    def response_post_save_add(self, request, obj):
        return self.show_saved(obj) or super().response_post_save_add(request, obj)

    def response_post_save_change(self, request, obj):
        return self.show_saved(obj) or super().response_post_save_change(request, obj)

    def show_saved(self, obj):
        """Return a redirect to the overview of an object, or None if it has none."""
        if "overview" not in self.pages:
            return None
        return HttpResponseRedirect(self.get_record_url(obj))

    def describe_record(self, request, obj):
        """Return the template variables that all pages of an object share.

        `obj` is None on pages that are not about a single object, such as the import.
        """
        if obj is None:
            return {}
        return {
            "original": obj,
            "tabs": self.list_tabs(request, obj),
            "record_url": self.get_record_url(obj),
        }
