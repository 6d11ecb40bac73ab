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

# The due date that the form proposes.
DAYS_TO_ANSWER = 30

# A review that is open for longer says little about the day on which it ends.
MOST_DAYS = 366


@dataclass(frozen=True)
class Covered:
    """The organizations that a review is about to cover."""

    scope: ReviewScope
    # None stands for all.
    organizations: "QuerySet[Organization] | None"
    text: str = ""


def propose_due_date():
    return find_day(read_clock()) + datetime.timedelta(days=DAYS_TO_ANSWER)


class StartReviewForm(forms.Form):
    due_on = forms.DateField(
        label=_("Due date"),
        initial=propose_due_date,
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
        """`overlapping` are the open reviews of some of the same organizations."""
        super().__init__(data)
        if not overlapping:
            del self.fields["start_anyway"]

    def clean_due_on(self):
        due_on = self.cleaned_data["due_on"]
        days = (due_on - find_day(read_clock())).days
        if not 0 < days <= MOST_DAYS:
            raise forms.ValidationError(
                _("Choose a day after today, and within the next year.")
            )
        return due_on


class ReviewedAccessForm(RoleForm):
    """Choose another role or another end for someone whose access is reviewed.

    `access` is what they have now. After `is_valid()`, `end` is the new end, or None if
    it stays as it is.
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
        """Return whether this is another last day than the present one.

        The present end may be at any time of its day, and then stays as it is.
        """
        present = self.access.ends_at
        if ends_at is None or present is None:
            return ends_at != present
        return find_last_day(ends_at) != find_last_day(present)
