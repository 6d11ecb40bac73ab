"""The pages of access reviews for platform staff."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.db.models import F
from django.http import Http404, HttpResponseRedirect
from django.utils.translation import gettext_lazy as _

from orgadmin.access.rule import SUPERUSERS_ONLY
from orgadmin.accounts.sessions.kept_forms import get_returned_form, tell_not_saved
from orgadmin.admin.base import SuperuserOnlyAdmin
from orgadmin.admin.downloads import CSV, XLSX, respond_with_rows
from orgadmin.admin.lists.changelist import get_page, list_all_rows, make_list_request
from orgadmin.admin.members.forms import ReasonForm
from orgadmin.admin.once import AlreadySent, note_sent
from orgadmin.admin.quotes import quote
from orgadmin.admin.reviews.answers import read_decisions
from orgadmin.admin.reviews.closing import CLOSED_ALREADY, ReviewClosingPages
from orgadmin.admin.reviews.forms import Covered, StartReviewForm
from orgadmin.admin.reviews.rows import describe_paths
from orgadmin.admin.widgets import DayInput
from orgadmin.models import (
    AccessReview,
    Membership,
    Organization,
    ReviewAnswer,
    ReviewDecision,
    ReviewIsComplete,
    ReviewItem,
    ReviewRhythm,
    ReviewScope,
    ReviewSection,
    User,
)
from orgadmin.models.guards import LastSuperuserError
from orgadmin.models.validators import is_primary_key
from orgadmin.people.review_closing import can_cancel
from orgadmin.people.review_other_access import decide_other_paths
from orgadmin.people.review_paths import can_end, find_ended_paths
from orgadmin.people.review_schedule import remind_now
from orgadmin.people.reviews import (
    DueDateInThePast,
    NothingToReview,
    find_overlapping,
    has_members,
    list_covered,
    start_review,
)
from orgadmin.records.exports import record_export
from orgadmin.records.review_evidence import list_evidence, list_notices

# The number of organizations on a page.
ORGANIZATIONS_PER_PAGE = 50

# The number of rows of evidence on a page.
EVIDENCE_PER_PAGE = 250

# The maximum number of rows of evidence on the page for printing. The files contain all
# rows.
MAX_PRINTED = 2_000

# The maximum number of open reviews of the same organizations that the page lists
# before a new review is started.
OVERLAPPING_SHOWN = 5

# The URL parameter with the query string of the list of organizations that a review
# covers.
LIST_VAR = "list"


# {content of an evidence file: function that lists its rows}
EVIDENCE_FILES = {"decisions": list_evidence, "requests": list_notices}


@dataclass(frozen=True)
class Unanswered:
    """An organization without an answer, and the admins who can give the answer."""

    section: ReviewSection
    admins: list[User]


@dataclass(frozen=True)
class EvidencePart:
    """The rows about one organization on a page of evidence."""

    section: ReviewSection
    rows: list[ReviewItem]


@dataclass(frozen=True)
class Progress:
    """The number of organizations in a review, and of those without an answer."""

    total: int
    unanswered: int

    @property
    def answered(self):
        return self.total - self.unanswered


@admin.register(AccessReview)
class AccessReviewAdmin(ReviewClosingPages, SuperuserOnlyAdmin):
    """The pages that start, show and close reviews. Reviews cannot be edited."""

    pages = {
        "overview": SUPERUSERS_ONLY,
        "other_access": SUPERUSERS_ONLY,
        "evidence": SUPERUSERS_ONLY,
        "close": SUPERUSERS_ONLY,
        "cancel": SUPERUSERS_ONLY,
    }
    tabs = {
        "overview": _("Progress"),
        "other_access": _("Other access"),
        "evidence": _("Evidence"),
    }
    parent_tabs = {"close": "overview", "cancel": "overview"}
    list_display = ["name", "covers", "due_on", "state"]

    def is_permitted(self, request, permission, obj=None):
        return permission in ("view", "add") and super().is_permitted(
            request, permission
        )

    @admin.display(description=AccessReview._meta.verbose_name)
    def name(self, review):
        return str(review)

    @admin.display(description=_("Organizations"))
    def covers(self, review):
        return describe_scope(review)

    @admin.display(description=_("Status"))
    def state(self, review):
        if review.is_cancelled:
            return _("Canceled")
        if review.completed_at is not None:
            return _("Completed")
        if review.closed_at is not None:
            return _("Being completed")
        return _("Open") if review.prepared_at else _("Being prepared")

    # Starting a review

    def add_view(self, request, form_url="", extra_context=None):
        """Show the form that starts a review, or start the review.

        The review covers all organizations, or those in the URL: ?organization=<key>
        chooses one organization, and ?list=<query string> the organizations of a list.
        Raises `PermissionDenied` for everyone except superusers.
        """
        if not self.has_add_permission(request):
            raise PermissionDenied
        covered = read_covered(request)
        returned = get_returned_form(request)
        overlapping = list(find_overlapping(covered.organizations)[:OVERLAPPING_SHOWN])
        form = StartReviewForm(request.POST or returned, overlapping=overlapping)
        if returned is not None:
            tell_not_saved(request)
        elif form.is_valid():
            try:
                return self._start(request, covered, form.cleaned_data)
            except AlreadySent as error:
                return self.respond_to_second(request, error.location)
            except DueDateInThePast as error:
                # Midnight passed after the form was validated.
                form.add_error("due_on", str(error))
            except NothingToReview:
                # The page below tells the person about it.
                pass
        return self.render_page(
            request,
            obj=None,
            template="start",
            title=_("Start access review"),
            form=form,
            covered=covered,
            number=list_covered(covered.organizations).count(),
            is_empty=not has_members(covered.organizations),
            overlapping=overlapping,
        )

    @transaction.atomic
    def _start(self, request, covered, cleaned):
        """Start the review, and redirect to its overview.

        Raises `AlreadySent` if the form was sent before, and `DueDateInThePast` or
        `NothingToReview` if the review cannot be started.
        """
        sent = note_sent(request, request.get_full_path())
        review = start_review(
            covered.scope,
            due_on=cleaned["due_on"],
            ends_access=cleaned["ends_access"],
            organizations=covered.organizations,
            scope_text=covered.text,
            actor=request.user,
        )
        url = self.get_record_url(review)
        if sent is not None:
            sent.location = url
            sent.save(update_fields=["location"])
        text = _("The review has started. Admins are asked by email.")
        return self.redirect_with_message(request, text, to=url)

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """Redirect to the overview of the review. A review cannot be edited."""
        review = self.get_object(request, unquote(object_id))
        if review is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        return HttpResponseRedirect(self.get_record_url(review))

    # Pages of a review

    def overview_view(self, request, review):
        """Show which organizations have not answered, or remind their admins."""
        if request.method == "POST":
            return self._remind(request, review)
        sections = review.sections.exclude(organization_key=None)
        unanswered = sections.unanswered().order_by("organization_key")
        page = get_page(request, unanswered, size=ORGANIZATIONS_PER_PAGE)
        progress = Progress(sections.count(), page.paginator.count)
        page.object_list = add_active_admins(page.object_list)
        staff = review.sections.filter(organization_key=None).first()
        kept = ReviewDecision.objects.filter(
            item__section__review=review, answer=ReviewAnswer.KEPT
        )
        return self.render_page(
            request,
            review,
            "overview",
            str(review),
            review=review,
            scope=describe_scope(review),
            progress=progress,
            page=page,
            staff=staff,
            is_answerable=review.is_answerable,
            can_cancel=can_cancel(review),
            kept=kept.select_related("item__section")[:ORGANIZATIONS_PER_PAGE],
        )

    def _remind(self, request, review):
        if not review.is_answerable:
            return self.redirect_with_message(request, CLOSED_ALREADY, messages.WARNING)
        if remind_now(review):
            text = _("Everyone who has not answered gets an email.")
            return self.redirect_with_message(request, text)
        text = _(
            "No reminder was sent, because everyone was already reminded today, or"
            " because other emails of this review are being sent. Try again tomorrow."
        )
        return self.redirect_with_message(request, text, messages.WARNING)

    def other_access_view(self, request, review):
        """Show access that people have without a role, or save decisions about it.

        ?end=<key> shows the page that asks before the access of an item ends.
        """
        section = review.sections.filter(organization_key=None).first()
        if section is None:
            text = _("The review is being prepared. Try again in a minute.")
            url = self.get_record_url(review)
            return self.redirect_with_message(request, text, messages.WARNING, url)
        if request.method == "POST":
            return self._decide(request, section)
        is_answerable = review.is_answerable
        if is_answerable and is_primary_key(request.GET.get("end", "")):
            return self._ask_about_end(request, review, section)
        items = section.items.with_decisions().order_by("path", "pk")
        page = get_page(request, items)
        undecided = [item for item in page if not hasattr(item, "decision")]
        return self.render_page(
            request,
            review,
            "other_access",
            str(review),
            review=review,
            section=section,
            page=page,
            is_answerable=is_answerable,
            number=len(undecided) if is_answerable else 0,
        )

    def _ask_about_end(self, request, review, section):
        """Ask before access that someone has without a role is ended."""
        items = section.items.with_decisions().filter(pk=request.GET["end"])
        item = items.first()
        if item is None or not can_end(item) or find_ended_paths([item]):
            text = _(
                "This access has already ended, or it can only be ended in the"
                " settings."
            )
            url = request.path
            return self.redirect_with_message(request, text, messages.WARNING, url)
        return self.render_page(
            request,
            review,
            "other_access_end",
            _("End the access of %s?") % quote(item),
            item=item,
            number=len(item.list_decisions()),
            form=ReasonForm(),
            review_url=request.path,
        )

    def _decide(self, request, section):
        """Save decisions about access without a role, and redirect.

        The reason is optional.
        """
        form = ReasonForm(request.POST)
        if not form.is_valid():
            text = " ".join(form.errors["reason"])
            url = request.get_full_path()
            return self.redirect_with_message(request, text, messages.ERROR, url)
        try:
            outcome = decide_other_paths(
                section,
                read_decisions(request.POST),
                actor=request.user,
                reason=form.cleaned_data["reason"],
            )
        except ReviewIsComplete:
            return self.redirect_with_message(request, CLOSED_ALREADY, messages.WARNING)
        except LastSuperuserError as error:
            url = request.path
            return self.redirect_with_message(request, str(error), messages.ERROR, url)
        for level, text in describe_paths(outcome):
            self.message_user(request, text, level)
        if request.GET.get("end"):
            return HttpResponseRedirect(request.path)
        return HttpResponseRedirect(request.get_full_path())

    def evidence_view(self, request, review):
        """Show the evidence of a review: what was asked, and what was decided.

        ?print=1 shows up to MAX_PRINTED rows on one page. ?csv=decisions and
        ?csv=requests download all rows as a CSV file, and ?xlsx=… as a workbook.
        """
        for kind in (CSV, XLSX):
            content = request.GET.get(kind, "")
            if content in EVIDENCE_FILES:
                return self._download_evidence(request, review, kind, content)
        items = ReviewItem.objects.filter(section__review=review).with_decisions()
        # Access of platform staff comes last.
        ordered = items.select_related("section").order_by(
            F("section__organization_key").asc(nulls_last=True), "user_name", "pk"
        )
        left_out = 0
        if request.GET.get("print"):
            page = None
            rows = list(ordered[:MAX_PRINTED])
            if len(rows) == MAX_PRINTED:
                left_out = items.count() - MAX_PRINTED
        else:
            rows = page = get_page(request, ordered, size=EVIDENCE_PER_PAGE)
        without_members = review.sections.filter(items_total=0)
        return self.render_page(
            request,
            review,
            "evidence",
            str(review),
            review=review,
            scope=describe_scope(review),
            page=page,
            parts=list_parts(rows),
            number=len(rows),
            left_out=left_out,
            without_members=without_members.exclude(organization_key=None).count(),
        )

    def _download_evidence(self, request, review, kind, content):
        record_export(f"access review: {content}", actor=request.user, review=review.pk)
        name = f"access-review-{review.pk}-{content}"
        rows = EVIDENCE_FILES[content](review)
        return respond_with_rows(request, kind, name, rows, page=request.path)


@admin.register(ReviewRhythm)
class ReviewRhythmAdmin(SuperuserOnlyAdmin):
    """The rhythms that start reviews regularly.

    A rhythm can be switched off, but not deleted, because the reviews that it started
    refer to it.
    """

    list_display = ["name", "next_on", "ends_access", "is_active"]
    fields = ["every_days", "answer_days", "ends_access", "next_on", "is_active"]
    # Django's own widget adds links after the page is shown, which moves the content.
    formfield_overrides = {models.DateField: {"widget": DayInput}}

    @admin.display(description=ReviewRhythm._meta.verbose_name)
    def name(self, rhythm):
        return str(rhythm)

    def is_permitted(self, request, permission, obj=None):
        return permission != "delete" and super().is_permitted(request, permission)


def read_covered(request):
    """Return what a new review will cover, according to the parameters of the URL.

    The review covers one organization, a filtered list, or, without parameters, all
    organizations. Raises `Http404` if the organization in the URL does not exist or is
    archived, and `SuspiciousOperation` if the list does not have one of the filters.
    """
    key = request.GET.get("organization", "")
    if key:
        if not is_primary_key(key):
            raise Http404
        organizations = Organization.objects.unarchived().filter(pk=int(key))
        organization = organizations.first()
        if organization is None:
            raise Http404
        return Covered(ReviewScope.ONE, organizations, organization.name)
    query = request.GET.get(LIST_VAR, "").lstrip("?")
    if not query:
        return Covered(ReviewScope.ALL, organizations=None)
    list_request = make_list_request(request, query)
    model_admin = admin.site.get_model_admin(Organization)
    organizations = list_all_rows(model_admin, list_request)
    return Covered(
        ReviewScope.LIST, organizations, describe_list(model_admin, list_request)
    )


def describe_list(model_admin, request):
    """Return the search and the filters of a list, such as "Admins: Only one"."""
    changelist = model_admin.get_changelist_instance(request)
    parts = [f"{chip.title}: {chip.text}" for chip in changelist.chips]
    if changelist.query:
        parts.insert(0, f"“{changelist.query}”")
    return "; ".join(parts)


def describe_scope(review):
    if review.scope == ReviewScope.ALL or not review.scope_text:
        return review.get_scope_display()
    return review.scope_text


def add_active_admins(sections: Iterable[ReviewSection]) -> list[Unanswered]:
    """Return the sections, each with the active admins of its organization.

    Runs two queries, and another one if `sections` is a queryset.
    """
    sections = list(sections)
    organizations = Organization.objects.order_by().filter(
        pk__in=[section.organization_key for section in sections]
    )
    pks_by_group = dict(organizations.values_list("admin", "pk"))
    memberships = Membership.objects.current().filter(
        group__in=pks_by_group, user__is_active=True
    )
    admins_by_pk = {}
    memberships = memberships.select_related("user").order_by("user__username")
    for membership in memberships:
        pk = pks_by_group[membership.group_id]
        admins_by_pk.setdefault(pk, []).append(membership.user)
    return [
        Unanswered(section, admins_by_pk.get(section.organization_key, []))
        for section in sections
    ]


def list_parts(items):
    """Return the rows of a page of evidence, with one part for each organization."""
    parts = []
    for section, rows in groupby(items, key=attrgetter("section")):
        parts.append(EvidencePart(section, list(rows)))
    return parts
