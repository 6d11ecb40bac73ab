"""AccessReview: people confirm who has access. ReviewRhythm: when reviews start."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import NotSupportedError, models
from django.db.models import Case, F, Q, When
from django.db.models.functions import Now, TruncDate
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext, gettext_lazy as _

from orgadmin.access.ends import find_start_of_next_day
from orgadmin.access.sql import read_clock
from orgadmin.models.organization import Organization


class ReviewIsComplete(NotSupportedError):
    """A completed review can no longer be changed, and no review can be deleted."""

    def __init__(self) -> None:
        super().__init__("A completed access review is evidence. Start a new one.")


class ReviewScope(models.TextChoices):
    """Which organizations a review covers."""

    ALL = "all", _("All organizations")
    LIST = "list", _("The organizations of a filtered list")
    ONE = "one", _("One organization")


class ReviewRhythm(models.Model):
    """A schedule that regularly starts a review of all organizations.

    The next review starts on `next_on`, or later if the previous one is still open
    then.
    """

    every_days = models.PositiveSmallIntegerField(
        _("repeat every (days)"),
        default=90,
        validators=[MinValueValidator(7), MaxValueValidator(1_000)],
    )
    answer_days = models.PositiveSmallIntegerField(
        _("time to answer (days)"),
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(365)],
    )
    ends_access = models.BooleanField(
        _("unconfirmed access ends"),
        default=False,
        help_text=_(
            "On the due date, members whose access nobody has confirmed lose it."
            " Otherwise, the review only reports them."
        ),
    )
    next_on = models.DateField(_("next review starts on"))
    is_active = models.BooleanField(_("active"), default=True)

    class Meta:
        verbose_name = _("review schedule")
        verbose_name_plural = _("review schedules")
        ordering = ["next_on", "pk"]

    def __str__(self) -> str:
        return str(_("every %d days") % self.every_days)


class AccessReviewQuerySet(models.QuerySet["AccessReview"]):
    def update(self, **values: Any) -> int:
        """Update the reviews that are not completed. Skip completed reviews."""
        return models.QuerySet.update(self.filter(completed_at=None), **values)

    def delete(self) -> Any:
        """Raise `ReviewIsComplete`, even if the reviews are not completed."""
        raise ReviewIsComplete

    def open(self) -> AccessReviewQuerySet:
        """Return the reviews that are not completed, even if their due date is over."""
        return self.filter(completed_at=None)

    def asking(self) -> AccessReviewQuerySet:
        """Return the open reviews that have all their items and were not closed.

        Includes reviews whose due date is over.
        """
        return self.open().filter(prepared_at__isnull=False, closed_at=None)

    def answerable(self) -> AccessReviewQuerySet:
        """Return the reviews that people can answer now, by the database's clock."""
        return self.filter(is_answerable())


def is_answerable(path: str = "") -> Q:
    """Return the queryset condition that people can answer a review now.

    `path` leads to the review, such as "review__".
    """
    site = timezone.get_default_timezone()
    return Q(
        **{
            f"{path}completed_at": None,
            f"{path}prepared_at__isnull": False,
            f"{path}closed_at": None,
            f"{path}due_on__gte": TruncDate(Now(), tzinfo=site),
        }
    )


class AccessReview(models.Model):
    """A review in which people confirm, until a due date, who still needs their access.

    The questions and answers are in `ReviewSection`, `ReviewItem`, `ReviewDecision` and
    `LaterDecision`. Once the review is completed, these rows can only change when a
    person is erased. The IDs and names of people and organizations are plain values, so
    they remain when the people and organizations are deleted.

    Reviews use the database's clock, like the ends of memberships, because application
    servers may have wrong clocks.
    """

    started_at = models.DateTimeField(_("started"), default=timezone.now)
    # Empty if a schedule started the review.
    started_by_key = models.BigIntegerField(_("by user ID"), null=True)
    started_by_name = models.CharField(_("started by"), max_length=150, blank=True)
    rhythm = models.ForeignKey(
        ReviewRhythm,
        models.PROTECT,
        null=True,
        related_name="reviews",
        verbose_name=_("schedule"),
    )
    scope = models.CharField(
        _("organizations"), max_length=10, choices=ReviewScope.choices
    )
    # For a list, its search and filters as text; for one organization, its name at the
    # start of the review.
    scope_text = models.CharField(max_length=500, blank=True)
    due_on = models.DateField(_("due date"))
    ends_access = models.BooleanField(_("unconfirmed access ends"), default=False)
    # The items of all organizations up to this ID exist. `prepared_at` is set when all
    # items exist.
    prepared_to = models.BigIntegerField(default=0, editable=False)
    prepared_at = models.DateTimeField(null=True, editable=False)
    # `asking` is the request that is being sent to all admins, such as "7 days", and
    # `asked_to` is the user ID up to which it was sent. `asked` is the last request
    # that was sent to everyone. See people/review_schedule.py.
    asking = models.CharField(max_length=20, blank=True, editable=False)
    asked_to = models.BigIntegerField(default=0, editable=False)
    asked = models.CharField(max_length=20, blank=True, editable=False)
    # The membership log was searched up to this entry for people who left after the
    # review started.
    log_position = models.BigIntegerField(default=0, editable=False)
    # When someone closed or canceled the review, and who. Empty if the review was open
    # until the due date, or until everything had been answered.
    closed_at = models.DateTimeField(_("closed early"), null=True)
    closed_by_key = models.BigIntegerField(_("by user ID"), null=True)
    closed_by_name = models.CharField(
        _("closed by"), max_length=150, blank=True, default="", db_default=""
    )
    # Closed before anyone had decided anything. Closing it did not decide anything.
    is_cancelled = models.BooleanField(_("canceled"), default=False, db_default=False)
    completed_at = models.DateTimeField(_("completed"), null=True)

    objects = AccessReviewQuerySet.as_manager()

    class Meta:
        verbose_name = _("access review")
        verbose_name_plural = _("access reviews")
        ordering = ["-pk"]
        base_manager_name = "objects"
        constraints = [
            models.UniqueConstraint(
                fields=["rhythm"],
                condition=Q(completed_at=None),
                name="one_open_review_per_rhythm",
            )
        ]

    def __str__(self) -> str:
        local = timezone.localtime(self.started_at, timezone.get_default_timezone())
        return gettext("Access review of %s") % date_format(local, "DATE_FORMAT")

    def save(self, **kwargs: Any) -> None:
        """Save the review. Raise `ReviewIsComplete` if it has been completed."""
        if not self._state.adding and not type(self).objects.open().filter(pk=self.pk):
            raise ReviewIsComplete
        super().save(**kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        """Raise `ReviewIsComplete`, even if the review is not completed."""
        raise ReviewIsComplete

    @property
    def due_at(self) -> datetime.datetime:
        """The moment at which the due date has ended in the site's time zone."""
        return find_start_of_next_day(self.due_on)

    @property
    def is_answerable(self) -> bool:
        """Whether people can answer now. May read the database's clock."""
        is_open = self.completed_at is None and self.closed_at is None
        return is_open and self.prepared_at is not None and not self.is_due

    @property
    def is_due(self) -> bool:
        """Whether the time to answer is over, or the review was closed.

        May read the database's clock.
        """
        return self.closed_at is not None or self.due_at <= read_clock()


class ReviewSectionQuerySet(models.QuerySet["ReviewSection"]):
    def unanswered(self) -> ReviewSectionQuerySet:
        return self.filter(open_items__gt=0)

    def waiting(self) -> ReviewSectionQuerySet:
        """Return the sections that admins of an organization still have to answer."""
        return self.unanswered().filter(
            is_answerable("review__"), organization_key__isnull=False
        )

    def of_unarchived(self) -> ReviewSectionQuerySet:
        """Leave out the sections about archived organizations."""
        archived = Organization.objects.archived().order_by()
        return self.exclude(organization_key__in=archived.values("pk"))

    def tell_answerable(self) -> ReviewSectionQuerySet:
        """Add the attribute `is_answerable`: whether people can answer it now."""
        condition = When(is_answerable("review__"), then=True)
        return self.annotate(is_answerable=Case(condition, default=False))


class ReviewSection(models.Model):
    """The part of a review that is about one organization.

    Each review also has one section without an organization, in which platform staff
    confirm all access that does not come from a role.
    """

    review = models.ForeignKey(
        AccessReview, models.PROTECT, related_name="sections", db_index=False
    )
    organization_key = models.BigIntegerField(_("organization ID"), null=True)
    organization_name = models.CharField(_("organization"), max_length=255, blank=True)
    items_total = models.PositiveIntegerField(default=0)
    open_items = models.PositiveIntegerField(default=0)
    answered_at = models.DateTimeField(_("answered"), null=True)

    if TYPE_CHECKING:
        is_answerable: bool  # after `tell_answerable()`

    objects = ReviewSectionQuerySet.as_manager()

    class Meta:
        verbose_name = _("section of an access review")
        verbose_name_plural = _("sections of access reviews")
        ordering = ["organization_key"]
        constraints = [
            models.UniqueConstraint(
                fields=["review", "organization_key"], name="review_organization"
            ),
            models.UniqueConstraint(
                fields=["review"],
                condition=Q(organization_key=None),
                name="review_staff_section",
            ),
            models.CheckConstraint(
                condition=Q(open_items__lte=F("items_total")), name="review_open_items"
            ),
        ]
        indexes = [
            models.Index(
                fields=["organization_key", "review"], name="review_of_organization"
            ),
            models.Index(
                fields=["review", "organization_key"],
                condition=Q(open_items__gt=0),
                name="review_unanswered",
            ),
        ]

    def __str__(self) -> str:
        return self.organization_name or str(_("Platform staff"))
