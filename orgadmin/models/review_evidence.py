"""The evidence of an access review: its items, decisions and requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy as _

from orgadmin.access.append_only import AppendOnly, AppendOnlyQuerySet
from orgadmin.access.ends import show_end
from orgadmin.access.membership_log import name_author
from orgadmin.access.roles import PERMISSIONS, ROLES, get_role
from orgadmin.models.access_review import AccessReview, ReviewSection
from orgadmin.models.fields import LongLineField

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

ROLE_CHOICES = [(role.key, role.label) for role in ROLES]


class AccessPath(models.TextChoices):
    """The reason why someone has access."""

    MEMBER = "member", _("Role")
    SUPERUSER = "superuser", _("Superuser")
    DELEGATED = "delegated", _("Staff with a permission on all organizations")
    GRANT = "grant", _("Permission on one organization")
    GROUP = "group", _("Group with a permission on one organization")
    PROVIDER = "provider", _("Group at a sign-in provider")


class ReviewAnswer(models.TextChoices):
    """What a person, or the review itself, has decided about an item."""

    CONFIRMED = "confirmed", _("confirmed")
    CHANGED = "changed", _("changed")
    ENDED = "ended", _("ended")
    # The access ended in another way before anyone answered. For example, the person
    # left, or the organization was archived or deleted.
    LEFT = "left", _("access ended before an answer")
    UNCONFIRMED = "unconfirmed", _("not confirmed")
    # The review ended the access, because nobody had confirmed it.
    EXPIRED = "expired", _("not confirmed, ended")
    # Ending it would have left the organization without an active admin.
    KEPT = "kept", _("not confirmed, kept as last admin")


# After these answers, the person keeps access because someone confirmed it.
CONFIRMING_ANSWERS = [ReviewAnswer.CONFIRMED, ReviewAnswer.CHANGED]


class ReviewItemQuerySet(AppendOnlyQuerySet):
    def with_decisions(self) -> ReviewItemQuerySet:
        """Load the decisions for `list_decisions()`, with one more query."""
        rows = self.select_related("decision")
        return rows.prefetch_related("later_decisions")

    def confirmed(self) -> ReviewItemQuerySet:
        """Return the items whose last decision confirmed the access."""
        later = LaterDecision.objects.filter(item=OuterRef("pk")).order_by("-number")
        answer = Coalesce(Subquery(later.values("answer")[:1]), "decision__answer")
        return self.annotate(last_answer=answer).filter(
            last_answer__in=CONFIRMING_ANSWERS
        )


class ReviewItem(AppendOnly):
    """A reason why a person or a group had access when a review started.

    As in the membership log, IDs and names are plain values.
    """

    section = models.ForeignKey(ReviewSection, models.PROTECT, related_name="items")
    # Identifies the item in its section, such as "member 17 admin", so that it is not
    # created twice.
    key = models.CharField(max_length=80)
    path = models.CharField(_("access"), max_length=20, choices=AccessPath.choices)
    # Empty if the item is about a group.
    user_key = models.BigIntegerField(_("user ID"), null=True)
    user_name = models.CharField(_("person"), max_length=254, blank=True)
    full_name = models.CharField(_("name"), max_length=310, blank=True)
    # Only for permissions on one organization, and for groups of an OpenID provider
    # that give a role there. For roles of people, the section has the organization.
    organization_key = models.BigIntegerField(_("organization ID"), null=True)
    organization_name = models.CharField(_("organization"), max_length=255, blank=True)
    role = models.CharField(
        _("role"), max_length=20, choices=ROLE_CHOICES, blank=True, default=""
    )
    # For permissions, their keys. If a group has them, its name comes first, as in
    # "Auditors: view". For a group of an OpenID provider, the names of both, as in
    # "Company account: finance".
    detail = models.CharField(_("details"), max_length=1_000, blank=True)
    # When the person got the role. With `is_older`, they got it before this time.
    since = models.DateTimeField(_("since"), null=True)
    is_older = models.BooleanField(default=False)
    added_by_key = models.BigIntegerField(_("by user ID"), null=True)
    added_by_name = models.CharField(_("added by"), max_length=150, blank=True)
    # As in MembershipEvent.source.
    source = models.CharField(_("source"), max_length=200, blank=True)
    last_sign_in = models.DateTimeField(_("last sign-in"), null=True)
    ends_at = models.DateTimeField(_("ends"), null=True)

    objects = ReviewItemQuerySet.as_manager()

    class Meta:
        verbose_name = _("item of an access review")
        verbose_name_plural = _("items of access reviews")
        ordering = ["pk"]
        base_manager_name = "objects"
        constraints = [
            models.UniqueConstraint(fields=["section", "key"], name="review_item_key")
        ]
        indexes = [models.Index(fields=["user_key"], name="review_item_user")]

    def __str__(self) -> str:
        return self.user_name or self.detail

    def list_decisions(self) -> list[Decided]:
        """Return the decisions about the item, oldest first.

        To avoid a query for each item, load the items with `with_decisions()`.
        """
        first: Decided | None = getattr(self, "decision", None)
        return [first, *self.later_decisions.all()] if first is not None else []

    @property
    def last_decision(self) -> Decided | None:
        """The last decision, which is the valid one. None if the item is open."""
        decisions = self.list_decisions()
        return decisions[-1] if decisions else None

    @property
    def shown_end(self) -> str:
        """The last day of the access, or "" if it has no end."""
        return show_end(self.ends_at) if self.ends_at is not None else ""

    @property
    def shown_detail(self) -> str:
        """`detail`, with what permissions allow in words instead of their keys."""
        if self.path in (AccessPath.MEMBER, AccessPath.SUPERUSER, AccessPath.PROVIDER):
            return self.detail
        group, separator, names = self.detail.rpartition(": ")
        known = names.split(", ")
        abilities = [str(text) for name, text in PERMISSIONS.items() if name in known]
        return f"{group}{separator}{', '.join(abilities)}"

    @property
    def shown_added_by(self) -> str:
        """Who added the person, in the form of `MembershipEvent.shown_actor`."""
        return name_author(self.source, self.added_by_name)


class Decided(AppendOnly):
    """A decision about an item, and what it changed."""

    at = models.DateTimeField(_("when"), default=timezone.now)
    answer = models.CharField(
        _("decision"), max_length=20, choices=ReviewAnswer.choices
    )
    # Empty if the review decided by itself.
    actor_key = models.BigIntegerField(_("by user ID"), null=True)
    actor_name = models.CharField(_("by"), max_length=150, blank=True)
    # The role and its end before and after the decision. `role` is empty if the person
    # no longer has a role.
    role_before = models.CharField(max_length=20, choices=ROLE_CHOICES, blank=True)
    ends_at_before = models.DateTimeField(null=True)
    role = models.CharField(_("role"), max_length=20, choices=ROLE_CHOICES, blank=True)
    ends_at = models.DateTimeField(_("ends"), null=True)
    reason = LongLineField(_("reason"), max_length=500, blank=True)

    if TYPE_CHECKING:
        item: models.ForeignKey[ReviewItem, ReviewItem]

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.get_answer_display()

    @property
    def is_own(self) -> bool:
        """Whether the person who decided has this access themselves."""
        return self.actor_key is not None and self.actor_key == self.item.user_key

    @property
    def shown_end(self) -> str:
        """The last day of the access after the decision, or "" if it has no end."""
        return show_end(self.ends_at) if self.ends_at is not None else ""

    @property
    def shown_role(self) -> StrOrPromise:
        """The role, or both roles if the decision replaced one by the other."""
        if not self.role or self.role == self.role_before or not self.role_before:
            return self.get_role_display()
        before = get_role(self.role_before).label
        return f"{before} → {self.get_role_display()}"

    @property
    def shown_actor(self) -> str:
        if self.is_own:
            return gettext("%s (own access)") % self.actor_name
        return self.actor_name


class ReviewDecision(Decided):
    """The first decision about an item. Items without a decision are open."""

    item = models.OneToOneField(ReviewItem, models.PROTECT, related_name="decision")

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        verbose_name = _("decision of an access review")
        verbose_name_plural = _("decisions of access reviews")
        ordering = ["pk"]
        base_manager_name = "objects"
        indexes = [models.Index(fields=["actor_key"], name="review_decision_actor")]


class LaterDecision(Decided):
    """A decision that replaced the previous one, before the review was completed."""

    item = models.ForeignKey(
        ReviewItem, models.PROTECT, related_name="later_decisions", db_index=False
    )
    # The number of earlier decisions about the item.
    number = models.PositiveSmallIntegerField()

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        verbose_name = _("later decision of an access review")
        verbose_name_plural = _("later decisions of access reviews")
        ordering = ["item", "number"]
        base_manager_name = "objects"
        constraints = [
            models.UniqueConstraint(
                fields=["item", "number"], name="review_later_decision"
            )
        ]
        indexes = [models.Index(fields=["actor_key"], name="review_later_actor")]


class ReviewNotice(AppendOnly):
    """A request to an admin to review an organization.

    It was sent by email if the admin had an email address.
    """

    review = models.ForeignKey(
        AccessReview, models.PROTECT, related_name="notices", db_index=False
    )
    organization_key = models.BigIntegerField(_("organization ID"))
    user_key = models.BigIntegerField(_("user ID"))
    user_name = models.CharField(_("person"), max_length=254)
    # Which request this is: "start", "14 days", "7 days", "1 day", or for one that a
    # superuser sent, "by hand 2026-12-31".
    kind = models.CharField(max_length=20)
    at = models.DateTimeField(_("when"), default=timezone.now)

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        verbose_name = _("request of an access review")
        verbose_name_plural = _("requests of access reviews")
        ordering = ["pk"]
        base_manager_name = "objects"
        constraints = [
            models.UniqueConstraint(
                fields=["review", "organization_key", "user_key", "kind"],
                name="review_asked_once",
            )
        ]
        indexes = [models.Index(fields=["user_key"], name="review_notice_user")]

    def __str__(self) -> str:
        return f"{self.user_name}: {self.kind}"
