"""The page on which admins review who has access to their organization."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _, gettext_lazy

from orgadmin.admin.last_admin import describe_refusal, read_confirmed
from orgadmin.admin.lists.changelist import get_page
from orgadmin.admin.members.forms import ReasonForm
from orgadmin.admin.organizations.people import PEOPLE_PER_PAGE, gives_managing_role
from orgadmin.admin.quotes import quote
from orgadmin.admin.reviews.answers import read_decisions, read_number, read_seen
from orgadmin.admin.reviews.forms import ReviewedAccessForm
from orgadmin.admin.reviews.rows import describe_outcome, find_last_admin, make_rows
from orgadmin.gate.answers import get_gate
from orgadmin.models import (
    Organization,
    ReviewAnswer,
    ReviewIsComplete,
    ReviewItem,
    ReviewSection,
    User,
)
from orgadmin.models.guards import LastAdminError, find_active_members
from orgadmin.models.validators import is_primary_key
from orgadmin.people import membership
from orgadmin.people.changes import RoleChange
from orgadmin.people.review_access import Access, choose_access, find_access
from orgadmin.people.review_decisions import Decision, Outcome, decide

# The maximum number of reviews that the page lists.
REVIEWS_SHOWN = 20

ITEM_GONE = gettext_lazy("The review is over, or the person has left.")


class ReviewPage:
    """The page review/ below an organization."""

    def needs_recent_sign_in(self, request, name):
        """Return whether a request needs a recent sign-in.

        As on the People page, giving someone a role that manages people requires one.
        """
        if name == "review" and gives_managing_role(request.POST):
            return True
        return super().needs_recent_sign_in(request, name)

    def review_view(self, request, organization):
        """Show who has access, or save decisions about it.

        ?review=<ID> chooses a review. `choose_section()` says which one is shown
        otherwise. ?change=<key> and ?end=<key> ask about an item of the review.
        """
        sections = list_sections(organization)
        section = choose_section(request, sections)
        if section is None:
            return self._show_review(
                request, organization, section=None, sections=sections
            )
        try:
            if request.method == "POST":
                return self._decide(request, organization, section)
            response = self._ask_about_item(request, organization, section)
        except ReviewIsComplete:
            text = _("This review has ended, so nothing was changed.")
            return self.redirect_with_message(request, text, messages.WARNING)
        return response or self._show_review(request, organization, section, sections)

    def _show_review(self, request, organization, section, sections):
        """Show the items of a review, and the list of reviews of the organization.

        `section` is None if the organization does not have any reviews.
        """
        page = None
        rows = []
        is_open = section is not None and section.is_answerable
        admins = find_active_members([organization.admin_id])[organization.admin_id]
        if section is not None:
            items = section.items.with_decisions()
            page = get_page(
                request, items.order_by("user_name", "pk"), size=PEOPLE_PER_PAGE
            )
            rows = make_rows(
                request.user,
                organization,
                page,
                admins,
                permissions=get_gate(request).permissions_on(organization.pk),
                is_open=is_open,
            )
        return self.render_page(
            request,
            organization,
            "review",
            _("Review access"),
            section=section,
            sections=sections,
            page=page,
            rows=rows,
            confirmable=sum(row.is_open and row.can_confirm for row in rows),
            is_open=is_open,
            needs_other=any(row.needs_other and row.is_open for row in rows),
            last_admin=find_last_admin(request.user, admins),
        )

    def _decide(self, request, organization, section):
        """Save the decisions that the form sent: one, or "confirm" for a whole page."""
        url = self._get_review_url(organization, section)
        if is_primary_key(request.POST.get("change", "")):
            return self._change(request, organization, section)
        form = ReasonForm(request.POST)
        decisions = read_decisions(request.POST)
        if not decisions or not form.is_valid():
            text = _("Nothing was changed. Confirm, change or end someone's access.")
            return self.redirect_with_message(request, text, messages.WARNING, url)
        return self._carry_out_decisions(
            request, organization, section, decisions, form
        )

    def _change(self, request, organization, section):
        """Change someone's role or end date, or show the form with its errors."""
        key = request.POST["change"]
        url = self._get_review_url(organization, section)
        asked = find_asked_item(organization, section, key)
        if asked is None:
            return self.redirect_with_message(request, ITEM_GONE, messages.WARNING, url)
        permissions = get_permissions(request, asked)
        form = ReviewedAccessForm(
            request.POST, permissions=permissions, access=asked.access
        )
        reason = ReasonForm(request.POST)
        if not form.is_valid() or not reason.is_valid():
            return self._show_question(request, asked, url, form, reason)
        decision = Decision(
            asked.item.pk,
            ReviewAnswer.CHANGED,
            seen=read_seen(request.POST, key),
            number=read_number(request.POST, key),
            role=form.cleaned_data["role"],
            end=form.end,
        )
        return self._carry_out_decisions(
            request, organization, section, [decision], reason
        )

    def _carry_out_decisions(self, request, organization, section, decisions, form):
        """Save decisions, change or end access accordingly, and show the result."""
        outcome = decide(
            section,
            decisions,
            actor=request.user,
            reason=form.cleaned_data["reason"],
            confirmed=read_confirmed(request.POST),
        )
        self._tell_outcome(request, outcome)
        url = self._get_review_url(organization, section)
        if has_changed_own_access(outcome, request.user):
            url = self._find_next_url(request, organization, [request.user])
        return HttpResponseRedirect(url)

    def _tell_outcome(self, request, outcome):
        for level, text in describe_outcome(outcome):
            self.message_user(request, text, level)
        if outcome.is_empty:
            text = _("Someone else has decided about this, so nothing was changed.")
            self.message_user(request, text, messages.WARNING)

    def _ask_about_item(self, request, organization, section):
        """Show the page that asks before the access in the URL is changed or ended.

        Returns None if the URL does not ask about an item.
        """
        changed = request.GET.get("change", "")
        key = changed or request.GET.get("end", "")
        if not is_primary_key(key):
            return None
        asked = find_asked_item(organization, section, key)
        url = self._get_review_url(organization, section)
        if asked is None:
            return self.redirect_with_message(request, ITEM_GONE, messages.WARNING, url)
        permissions = get_permissions(request, asked)
        if changed:
            form = ReviewedAccessForm(permissions=permissions, access=asked.access)
            return self._show_question(request, asked, url, form)
        try:
            self._refuse_last_admin(request, asked)
        except LastAdminError as error:
            text = describe_refusal(error, request.user)
            return self.redirect_with_message(request, text, messages.ERROR, url)
        return self._show_question(request, asked, url)

    def _show_question(self, request, asked, url, changing=None, reason=None):
        """Ask before access is ended, or changed.

        If the access is changed, `changing` is the form for the new role and end.
        `reason` is the form with the reason, if one was sent.
        """
        organization = asked.organization
        title = _("End the access of %(person)s to %(organization)s?")
        template = "review_end"
        if changing is not None:
            title = _("Change the access of %(person)s to %(organization)s?")
            template = "review_change"
        names = {"person": quote(asked.name), "organization": quote(organization)}
        return self.render_page(
            request,
            organization,
            template,
            title % names,
            item=asked.item,
            number=len(asked.item.list_decisions()),
            person=asked.user,
            name=asked.name,
            access=asked.access,
            changing=changing,
            form=reason or ReasonForm(),
            review_url=url,
            losing_last_admin=membership.find_organizations_losing_last_admin(
                asked.list_changes()
            ),
        )

    def _get_review_url(self, organization, section):
        url = reverse("admin:orgadmin_organization_review", args=[organization.pk])
        return f"{url}?review={section.review_id}"


@dataclass(frozen=True)
class AskedItem:
    """An item that a page asks about, and the current access of the person in it."""

    organization: Organization
    item: ReviewItem
    user: User
    access: Access

    @property
    def name(self) -> str:
        return self.user.label_without_email

    def list_changes(self) -> list[RoleChange]:
        """Return the change that would end the access, so that it can be checked."""
        return [RoleChange(self.user, self.organization, role=None)]


def find_asked_item(
    organization: Organization, section: ReviewSection, key: str
) -> AskedItem | None:
    """Return the item with a primary key, or None.

    Returns None if there is no such item, if the review can no longer be answered, or
    if the person has left.
    """
    item = section.items.with_decisions().filter(pk=key).first()
    if item is None or not section.is_answerable:
        return None
    user = User.objects.filter(pk=item.user_key or 0).first()
    access = choose_access(item, find_access(organization, [item]))
    if user is None or access is None:
        return None
    return AskedItem(organization, item, user, access)


def get_permissions(request: HttpRequest, asked: AskedItem) -> Collection[str]:
    """Return the permissions that the current user has on the organization of an item.

    Raises `PermissionDenied` if the user is not allowed to decide about the access.
    """
    permissions = get_gate(request).permissions_on(asked.organization.pk)
    if not membership.may_assign(permissions, asked.access.role):
        raise PermissionDenied
    return permissions


def list_sections(organization: Organization) -> list[ReviewSection]:
    """Return up to REVIEWS_SHOWN reviews of an organization, newest first.

    Runs one query.
    """
    sections = ReviewSection.objects.filter(
        organization_key=organization.pk, review__prepared_at__isnull=False
    )
    ordered = sections.select_related("review").order_by("-review_id")
    return list(ordered.tell_answerable()[:REVIEWS_SHOWN])


def choose_section(
    request: HttpRequest, sections: Collection[ReviewSection]
) -> ReviewSection | None:
    """Return the review to show, or None if there are none.

    This is the review in the URL, or else the waiting review with the earliest due
    date, or else the newest review.
    """
    chosen = request.GET.get("review", "")
    for section in sections:
        if chosen == str(section.review_id):
            return section
    waiting = [row for row in sections if row.is_answerable and row.open_items]
    if waiting:
        return min(waiting, key=lambda section: section.review.due_on)
    return next(iter(sections), None)


def has_changed_own_access(outcome: Outcome, user: User) -> bool:
    """Return whether the user ended or changed their own access."""
    return any(
        row.item.user_key == user.pk and row.answer != ReviewAnswer.CONFIRMED
        for row in outcome.decided
    )
