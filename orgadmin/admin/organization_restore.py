"""The page that restores an earlier version of an organization."""

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _, gettext_noop

from orgadmin.gate.answers import get_gate
from orgadmin.models.validators import is_primary_key
from orgadmin.records.versions import describe_changes, restore_version


class RestorePage:
    """The page restore/ below an organization."""

    def restore_view(self, request, organization):
        """Show what restoring a version would change, or restore the version.

        ?to=<key> has the primary key of the version in the history.
        """
        record = find_version(organization, request.GET.get("to", ""))
        if request.method == "POST":
            return self._restore(request, organization, record)
        permissions = get_gate(request).permissions_on(organization.pk)
        return self.render_page(
            request,
            organization,
            "restore",
            _("Restore “%s” to an earlier version?") % organization,
            lines=list(describe_changes(organization, record, permissions)),
            record=record,
        )

    def _restore(self, request, organization, record):
        history = reverse("admin:orgadmin_organization_history", args=[organization.pk])
        try:
            organization = restore_version(organization, record, actor=request.user)
        except ValidationError as error:
            text = _("This version cannot be restored: %s") % " ".join(error.messages)
            return self.redirect_with_message(request, text, messages.ERROR, history)
        self.log_change(
            request, organization, gettext_noop("Restored an earlier version.")
        )
        when = timezone.localtime(record.history_date)
        text = _("“%(organization)s” was restored to the version of %(when)s.")
        names = {
            "organization": organization,
            "when": date_format(when, "DATETIME_FORMAT"),
        }
        return self.redirect_with_message(request, text % names, to=history)


def find_version(organization, key):
    """Return the version with a key in the organization's history.

    Raises `DoesNotExist` if there is none. `ClosedModelAdmin.open_page` then responds
    as if the organization did not exist.
    """
    if not is_primary_key(key):
        raise organization.history.model.DoesNotExist
    return organization.history.get(pk=key)
