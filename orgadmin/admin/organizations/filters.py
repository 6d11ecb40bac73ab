"""The filters of the list of organizations."""

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orgadmin.access.sql import write_constant
from orgadmin.admin.lists.filters import ChoiceFilter, DateFilter
from orgadmin.models import AccessRequest, Invitation, ReviewSection
from orgadmin.models.organization import is_incomplete
from orgadmin.people.ends import FORESEEN, loses_last_admin


class AdminsFilter(ChoiceFilter):
    title = _("Admins")
    parameter_name = "admins"
    permission = "manage_members"
    options = {
        "none": _("No active admin"),
        "one": _("Only one active admin"),
        "ending": _("Access of all admins ends within 30 days"),
    }

    def narrow(self, queryset):
        # Each number has a partial index.
        if self.value == "none":
            return queryset.filter(active_admins=write_constant(0))
        if self.value == "ending":
            return queryset.filter(loses_last_admin(timezone.now() + FORESEEN))
        return queryset.filter(active_admins=write_constant(1))


class IncompleteFilter(ChoiceFilter):
    """Finds organizations in which one of WANTED_FIELDS is empty.

    The field may be confidential, so the filter requires "view_confidential".
    """

    title = _("Fields")
    parameter_name = "incomplete"
    permission = "view_confidential"
    options = {"1": _("Something is missing")}

    def narrow(self, queryset):
        return queryset.filter(is_incomplete(write_constant("")))


class InvitationsFilter(ChoiceFilter):
    title = _("Invitations")
    parameter_name = "invitations"
    permission = "manage_members"
    options = {"pending": _("Pending"), "expired": _("Expired")}

    def narrow(self, queryset):
        if self.value == "pending":
            invitations = Invitation.objects.pending()
        else:
            invitations = Invitation.objects.expired()
        return queryset.filter(pk__in=invitations.order_by().values("organization"))


class WaitingFilter(ChoiceFilter):
    """Finds organizations with requests or reviews that their admins must answer."""

    title = _("Waiting for an answer")
    parameter_name = "waiting"
    permission = "manage_members"
    options = {"requests": _("Requests for access"), "review": _("Access review")}

    def narrow(self, queryset):
        if self.value == "requests":
            requests = AccessRequest.objects.open().order_by()
            return queryset.filter(pk__in=requests.values("organization"))
        sections = ReviewSection.objects.waiting().order_by()
        return queryset.filter(pk__in=sections.values("organization_key"))


class ChangedSinceFilter(DateFilter):
    """Finds organizations that were changed on a day or later.

    The time at which a confidential field was changed is confidential as well, so the
    filter requires "view_confidential".
    """

    title = _("Changed since")
    parameter_name = "changed_since"
    permission = "view_confidential"
    field = "changed_at"


class CreatedSinceFilter(DateFilter):
    title = _("Created since")
    parameter_name = "created_since"
    permission = "view"
    field = "created_at"
