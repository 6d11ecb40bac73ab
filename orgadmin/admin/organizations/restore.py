"""The page that restores an earlier version of an organization."""

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _, gettext_noop

from orgadmin.gate.answers import get_gate
from orgadmin.models.validators import is_primary_key
from orgadmin.records.history import read_whole_change
from orgadmin.records.versions import (
    ChangesDiffer,
    describe_restoring,
    find_kept_fields,
    make_digest,
    restore_version,
)


class RestorePage:
    """The page restore/ below an organization."""

    def restore_view(self, request, organization):
        """Show what restoring a version would change, or restore the version.

        ?to=<key> contains the primary key of the version in the history.
        """
        gate = get_gate(request)
        record = find_version(organization, request.GET.get("to", ""), gate)
        if request.method == "POST":
            return self._restore(request, organization, record)
        permissions = gate.permissions_on(organization.pk)
        lines = describe_restoring(organization, record, permissions, request.user)
        return self.render_page(
            request,
            organization,
            "restore",
            _("Restore an earlier version?"),
            lines=lines,
            seen=make_digest(lines),
            kept=find_kept_fields(organization, record, request.user),
            record=record,
        )

    def _restore(self, request, organization, record):
        """Restore the version, unless the changes differ from those on the page."""
        seen = request.POST.get("seen", "")
        try:
            with transaction.atomic():
                organization = restore_version(
                    organization, record, actor=request.user, seen=seen
                )
                self.log_change(
                    request, organization, gettext_noop("Restored an earlier version.")
                )
        except ChangesDiffer:
            text = _(
                "Nothing was restored, because someone has changed the organization in"
                " the meantime. These are the changes now."
            )
            return self.redirect_with_message(request, text, messages.WARNING)
        except ValidationError as error:
            text = _("This version cannot be restored: %s") % " ".join(error.messages)
            history = self.get_page_url("history", organization)
            return self.redirect_with_message(request, text, messages.ERROR, history)
        when = timezone.localtime(record.history_date)
        text = _("The version of %(when)s of “%(organization)s” was restored.")
        names = {
            "organization": organization,
            "when": date_format(when, "DATETIME_FORMAT"),
        }
        return self.redirect_with_message(
            request, text % names, to=self.get_record_url(organization)
        )


def find_version(organization, key, gate):
    """Return the version of the organization with a given primary key.

    Raises `DoesNotExist` if there is no such version, or if the version changed only
    confidential fields that the person cannot see. Even the time of such a change is
    confidential. `ClosedModelAdmin.open_page()` then responds as if the organization
    did not exist.
    """
    if not is_primary_key(key):
        raise organization.history.model.DoesNotExist
    sees_all = gate.permits("view_confidential", organization.pk)
    if not sees_all and read_whole_change(organization, gate, int(key)) is None:
        raise organization.history.model.DoesNotExist
    return organization.history.get(pk=key)
