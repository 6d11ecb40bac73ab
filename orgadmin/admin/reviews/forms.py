"""The forms that start an access review and change the access of someone in it."""

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django import forms
from django.utils.translation import gettext_lazy as _

from orgadmin.access.sql import read_clock
from orgadmin.admin.members.end_field import EndField
from orgadmin.admin.members.forms import RoleForm
from orgadmin.admin.widgets import DayInput
from orgadmin.models import ReviewScope
from orgadmin.people.changes import MembershipEnd
from orgadmin.people.ends import find_day, find_last_day

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from orgadmin.models import Organization

# The number of days from today to the due date that the form suggests.
DEFAULT_DAYS_TO_ANSWER = 30

# The maximum number of days from today to the due date. If a review is open for longer,
# the first answers are too old when it ends.
MAX_DAYS_TO_ANSWER = 366


@dataclass(frozen=True)
class Covered:
    """The organizations that a new review will cover."""

    scope: ReviewScope
    organizations: "QuerySet[Organization] | None"  # None for all organizations
    text: str = ""  # describes the scope


def suggest_due_date():
    return find_day(read_clock()) + datetime.timedelta(days=DEFAULT_DAYS_TO_ANSWER)


class StartReviewForm(forms.Form):
    """Asks for the due date of a review, and for what happens afterwards.

    `overlapping` contains the open reviews of some of the same organizations. If there
    are any, the person must confirm that they want to start another review.
    """

    due_on = forms.DateField(
        label=_("Due date"),
        initial=suggest_due_date,
        widget=DayInput,
        help_text=_("People can answer until the end of this day."),
    )
    ends_access = forms.TypedChoiceField(
        label=_("Access that nobody has confirmed by then"),
        coerce=lambda value: value == "ends",
        choices=[
            ("reported", _("is reported, and stays")),
            ("ends", _("ends, except for the last active admins of an organization")),
        ],
        initial="reported",
        widget=forms.RadioSelect,
    )

    start_anyway = forms.BooleanField(
        label=_("Ask the same people again, in another review"),
        label_suffix="",
        error_messages={"required": _("Select this to start another review.")},
    )

    def __init__(self, data=None, *, overlapping):
        super().__init__(data)
        if not overlapping:
            del self.fields["start_anyway"]

    def clean_due_on(self):
        due_on = self.cleaned_data["due_on"]
        days = (due_on - find_day(read_clock())).days
        if not 0 < days <= MAX_DAYS_TO_ANSWER:
            raise forms.ValidationError(
                _("Choose a day after today, and within the next year.")
            )
        return due_on


class ReviewedAccessForm(RoleForm):
    """Asks for another role or another last day for someone whose access is reviewed.

    `access` is their current access. After `is_valid()`, `end` is the new end, or None
    if the end does not change.
    """

    until = EndField(
        label=_("Last day (optional)"),
        help_text=_("Access ends automatically at the end of this day."),
    )

    def __init__(self, data=None, *, permissions, access):
        super().__init__(data, permissions=permissions)
        self.access = access
        self.end = None
        self.initial["role"] = access.role.key
        self.initial["until"] = access.ends_at

    def clean(self):
        cleaned = super().clean()
        if self.errors:
            return cleaned
        if self._is_another_day(cleaned["until"]):
            self.end = MembershipEnd(cleaned["until"])
        elif cleaned["role"] is self.access.role:
            self.add_error("role", _("Choose another role, or another last day."))
        return cleaned

    def _is_another_day(self, ends_at):
        """Return whether a new end has another last day than the current end.

        The current end can be at any time of the day. If the day stays the same, the
        time of the end does not change.
        """
        current = self.access.ends_at
        if ends_at is None or current is None:
            return ends_at != current
        return find_last_day(ends_at) != find_last_day(current)
