"""The pages that change the roles of many people at once, for superusers.

Each page asks what to change, shows a preview, and asks for confirmation. The preview
sends back the input of the person and a digest of the changes that it showed. If the
digest still matches, all changes are made in one transaction, for large changes by a
worker. Otherwise, nothing is changed, and a new preview is shown.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from django.contrib import messages
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction
from django.http import HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils.translation import gettext as _, gettext_lazy, ngettext, pgettext

from orgadmin.access.rule import is_active_superuser
from orgadmin.accounts.sessions.kept_forms import (
    choose_key,
    get_returned_form,
    tell_not_saved,
)
from orgadmin.accounts.step_up import list_fields
from orgadmin.admin.downloads import respond_with_rows
from orgadmin.admin.last_admin import CONFIRMATION_FIELD, REFUSALS, describe_refusal
from orgadmin.admin.lists.changelist import list_all_rows, make_list_request
from orgadmin.admin.members.suggestions import suggest_anyone
from orgadmin.admin.once import AlreadySent, note_sent
from orgadmin.admin.people.bulk_forms import (
    EndAccessForm,
    GiveRoleForm,
    ReplacePersonForm,
)
from orgadmin.admin.quotes import quote
from orgadmin.admin.record_pages import Tab
from orgadmin.admin.successors import (
    FIELD_FOR_ALL,
    FIELD_OF_SHOWN_IDS,
    read_successor_form,
)
from orgadmin.models import (
    BulkJob,
    Organization,
    OrganizationUserObjectPermission,
    User,
)
from orgadmin.people import bulk_jobs
from orgadmin.people.bulk import (
    LIMIT,
    BulkChange,
    EndAccess,
    GiveRole,
    Plan,
    PlanChanged,
    PlannedRole,
    ReplacePerson,
    TooManyChanges,
    carry_out,
    make_plan,
)
from orgadmin.people.held_roles import HeldRole
from orgadmin.people.membership import EndInThePast
from orgadmin.people.outbox import is_queued
from orgadmin.people.unsent import find_state
from orgadmin.records.exports import record_export

# The maximum numbers of rows in the lists of a page. The file that can be downloaded
# contains all changes.
CHANGES_SHOWN = 200
SUMMARY_SHOWN = 50
SKIPPED_SHOWN = 100
PEOPLE_SHOWN = 100
JOBS_SHOWN = 5

# Sending an invitation takes about as long as changing this number of roles.
INVITATION_COST = 10

TABS = {
    "give": gettext_lazy("Give a role"),
    "replace": gettext_lazy("Replace a person"),
    "end": gettext_lazy("End access"),
}

# The fields that a preview does not copy from the request, because it adds its own.
OWN_FIELDS = ("form_key", "seen", "confirmed", "preview", "edit", "download")


@dataclass(frozen=True)
class SummaryLine:
    """How many roles change from `before` to `after`. None means no role."""

    before: HeldRole | None
    after: HeldRole | None
    number: int


@dataclass(frozen=True)
class EndingPerson:
    """A person whose access ends, and the kinds of access that they keep."""

    user: User
    number_of_roles: int
    kept: Collection[str]


class BulkPages:
    """The pages bulk/ and suggest/ beside the list of people."""

    def get_urls(self):
        protect = self.admin_site.admin_view
        urls = [
            path("suggest/", protect(self.suggest_view), name="orgadmin_user_suggest"),
        ]
        job_view = protect(self.bulk_job_view)
        urls.append(
            path("bulk/jobs/<int:pk>/", job_view, name="orgadmin_user_bulk_job")
        )
        for kind in TABS:
            name = f"orgadmin_user_bulk_{kind}"
            view = protect(self.bulk_view)
            urls.append(path(f"bulk/{kind}/", view, {"kind": kind}, name=name))
        return urls + super().get_urls()

    def suggest_view(self, request):
        """Suggest people to a superuser who types a name."""
        if not is_active_superuser(request.user):
            return self._respond_as_if_missing("suggest")
        return JsonResponse({"suggestions": suggest_anyone(request, self.admin_site)})

    def _respond_as_if_missing(self, name):
        """Respond as if the page did not exist.

        Below the list, Django treats an unknown URL as the key of an object, and
        redirects to the form of this object.
        """
        return redirect("admin:orgadmin_user_change", name)

    def bulk_view(self, request, kind):
        """Ask for a change, show a preview of the change, or carry it out."""
        if not is_active_superuser(request.user):
            return self._respond_as_if_missing(f"bulk/{kind}")
        if "confirmed" in request.POST:
            try:
                response = self._confirm(request, kind)
            except AlreadySent as error:
                return self.respond_to_second(request, error.location)
            except REFUSALS as error:
                text = describe_refusal(error, request.user)
                self.message_user(request, text, messages.ERROR)
            except (
                EndInThePast,
                ObjectDoesNotExist,
                PlanChanged,
                TooManyChanges,
            ):
                text = _(
                    "Nothing was changed, because something has changed in the"
                    " meantime. Read the preview again."
                )
                self.message_user(request, text, messages.WARNING)
            else:
                if response is not None:
                    return response
        return self._show(request, kind)

    def show_give_form(self, request, **initial):
        """Ask who gets a role in the organizations that were chosen in the list."""
        form = self._make_form(request, "give", data=None, initial=initial)
        return self._ask(request, "give", form)

    def show_end_form(self, request, **initial):
        """Ask whose access ends, with the people who were selected in the list."""
        form = self._make_form(request, "end", data=None)
        form.initial |= initial
        return self._ask(request, "end", form)

    # Steps

    def _make_form(self, request, kind, data, initial=None):
        if kind == "replace":
            form = ReplacePersonForm(data, actor=request.user)
            form.initial |= {"old": request.GET.get("old", "")}
            return form
        if kind == "end":
            return EndAccessForm(data, actor=request.user)
        find_listed = partial(self._find_listed, request)
        return GiveRoleForm(
            data, actor=request.user, find_listed=find_listed, initial=initial
        )

    def _find_listed(self, request, query):
        """Return the organizations of a list with the query string `query`."""
        organization_admin = self.admin_site.get_model_admin(Organization)
        return list_all_rows(organization_admin, make_list_request(request, query))

    def _show(self, request, kind):
        """Show the form, or the preview if the form was sent and is valid."""
        returned = get_returned_form(request)
        if returned is not None:
            tell_not_saved(request)
        form = self._make_form(request, kind, request.POST or returned)
        if request.method != "POST" or not form.is_valid() or "edit" in request.POST:
            return self._ask(request, kind, form)
        try:
            plan = make_plan(form.change)
        except TooManyChanges as error:
            text = _(
                "%(number)d roles would change. You can change at most %(limit)d at"
                " once."
            )
            form.add_error(None, text % {"number": error.number, "limit": LIMIT})
            return self._ask(request, kind, form)
        file_kind = request.POST.get("download")
        if file_kind is not None:
            return download_plan(request, plan, file_kind, page=get_bulk_url(kind))
        return self._show_preview(request, kind, form, plan)

    def _ask(self, request, kind, form):
        """Show the form that asks what to change, and the newest large changes."""
        number = None
        if kind == "give" and form.is_from_list:
            number = len(form.list_organizations())
        return self.render_page(
            request,
            obj=None,
            template="bulk",
            title=_("Bulk changes"),
            kind=kind,
            label=TABS[kind],
            form=form,
            form_key=choose_key(request),
            bulk_tabs=list_tabs(kind),
            page_url=get_bulk_url(kind),
            number_of_organizations=number,
            jobs=list_jobs(),
        )

    def _show_preview(self, request, kind, form, plan):
        """Show what would change, and ask for confirmation."""
        # If a confirmation was refused, the preview is shown again, with errors next to
        # the fields.
        successor_form = read_successor_form(
            request.POST,
            form.change.list_people(),
            plan.orphaned,
            is_sent="confirmed" in request.POST,
        )
        # The page has fields of its own for these, so they are not copied.
        own = [*OWN_FIELDS, CONFIRMATION_FIELD, FIELD_OF_SHOWN_IDS]
        posted = [
            (name, values)
            for name, values in list_fields(request.POST, without=own)
            if not name.startswith(FIELD_FOR_ALL)
        ]
        return self.render_page(
            request,
            obj=None,
            template="bulk_preview",
            title=title_preview(form.change),
            kind=kind,
            page_url=get_bulk_url(kind),
            plan=plan,
            summary=summarize(plan.changes),
            skipped_summary=summarize(plan.skipped),
            changes=plan.changes[:CHANGES_SHOWN],
            skipped=plan.skipped[:SKIPPED_SHOWN],
            people=describe_people(plan),
            invitations=plan.invitations[:CHANGES_SHOWN],
            left_out=form.left_out,
            reason=form.cleaned_data["reason"],
            successor_form=successor_form,
            posted=posted,
            button=label_button(form.change),
            is_needed=is_needed(plan),
        )

    def _confirm(self, request, kind):
        """Carry out the change that the preview showed, or queue it if it is large.

        Returns None if any input of the person is missing or wrong. `bulk_view()`
        handles the exceptions that this raises.
        """
        form = self._make_form(request, kind, request.POST)
        if not form.is_valid():
            return None
        change = form.change
        plan = make_plan(change)
        successor_form = read_successor_form(
            request.POST, change.list_people(), plan.orphaned, is_sent=True
        )
        if successor_form.has_errors:
            return None
        number = len(plan.changes) + len(successor_form.chosen)
        number += INVITATION_COST * len(plan.invitations)
        if number > bulk_jobs.MAX_ROLES_AT_ONCE:
            return self._start_job(request, form, plan, successor_form)
        url = get_bulk_url(kind)
        with transaction.atomic():
            note_sent(request, url)
            result = carry_out(
                change,
                actor=request.user,
                seen=request.POST.get("seen", ""),
                reason=form.cleaned_data["reason"],
                confirmed=successor_form.confirmed,
                successors=successor_form.chosen,
            )
        text = describe_result(change, result)
        self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(url)

    def _start_job(self, request, form, plan, successor_form):
        """Queue a change that takes long, so that a worker makes it.

        Raises `PlanChanged` if it is no longer the change that the preview showed.
        """
        if plan.digest != request.POST.get("seen"):
            raise PlanChanged
        with transaction.atomic():
            job = bulk_jobs.start(
                plan.change,
                actor=request.user,
                number=len(plan.changes),
                seen=plan.digest,
                reason=form.cleaned_data["reason"],
                confirmed=successor_form.confirmed,
                successors=successor_form.chosen,
            )
            url = get_job_url(job)
            note_sent(request, url)
        return HttpResponseRedirect(url)

    def bulk_job_view(self, request, pk):
        """Show the progress or the result of a change that a worker makes."""
        if not is_active_superuser(request.user):
            return self._respond_as_if_missing(f"bulk/jobs/{pk}")
        job = BulkJob.objects.filter(pk=pk).first()
        if job is None:
            return self._respond_as_if_missing(f"bulk/jobs/{pk}")
        return self.render_page(
            request,
            obj=None,
            template="bulk_job",
            title=TABS.get(job.kind, _("Bulk changes")),
            job=job,
            again_url=get_bulk_url(job.kind),
            outbox=find_state() if is_queued() and not job.is_finished else None,
        )


def get_job_url(job):
    return reverse("admin:orgadmin_user_bulk_job", args=[job.pk])


def get_bulk_url(kind):
    return reverse(f"admin:orgadmin_user_bulk_{kind}")


def list_tabs(current):
    return [
        Tab(label, get_bulk_url(kind), kind == current) for kind, label in TABS.items()
    ]


def list_jobs():
    """Return the newest changes made by a worker, as (job, URL)."""
    return [(job, get_job_url(job)) for job in BulkJob.objects.all()[:JOBS_SHOWN]]


def is_needed(plan: Plan) -> bool:
    """Return whether a plan changes roles or sends invitations, or offboards people."""
    if isinstance(plan.change, EndAccess) and plan.change.offboards:
        return True
    return bool(plan.changes) or bool(plan.invitations)


def summarize(rows: Sequence[PlannedRole]) -> list[SummaryLine]:
    """Return up to SUMMARY_SHOWN lines, starting with the most frequent change."""
    numbers = Counter((row.before, row.after) for row in rows)
    return [
        SummaryLine(before, after, number)
        for (before, after), number in numbers.most_common(SUMMARY_SHOWN)
    ]


def describe_people(plan: Plan) -> list[EndingPerson]:
    """Return up to PEOPLE_SHOWN people whose access ends, with what access they keep.

    Returns [] for other changes. Runs one query if only roles end.
    """
    change = plan.change
    if not isinstance(change, EndAccess):
        return []
    users = change.users[:PEOPLE_SHOWN]
    numbers = Counter(row.user.pk for row in plan.changes)
    kept = {} if change.offboards else find_kept_access(users, plan)
    return [
        EndingPerson(user, numbers[user.pk], kept.get(user.pk, [])) for user in users
    ]


def find_kept_access(users: Collection[User], plan: Plan) -> dict[int, list[str]]:
    """Return {user ID: labels of the kinds of access that do not depend on a role}."""
    pks = {user.pk for user in users}
    permissions = OrganizationUserObjectPermission.objects.filter(user__in=pks)
    with_permissions = set(permissions.values_list("user", flat=True))
    kept = {}
    for user in users:
        kinds = []
        if user.is_superuser:
            kinds.append(pgettext("kind of account", "Platform staff"))
        elif user.is_staff:
            kinds.append(_("Delegated staff"))
        if user.pk in with_permissions:
            kinds.append(_("Personal permissions"))
        kept[user.pk] = kinds
    return kept


def title_preview(change: BulkChange) -> str:
    """Return the title of the preview, which asks for confirmation."""
    match change:
        case GiveRole():
            text = ngettext(
                "Give the role %(role)s in %(number)d organization?",
                "Give the role %(role)s in %(number)d organizations?",
                len(change.organizations),
            )
            return text % {
                "role": change.role.label,
                "number": len(change.organizations),
            }
        case ReplacePerson():
            text = _("Replace %(old)s with %(new)s?")
            return text % {
                "old": quote(change.old.label),
                "new": quote(change.new.label),
            }
        case _:
            text = ngettext(
                "End the access of %d person?",
                "End the access of %d people?",
                len(change.users),
            )
            return text % len(change.users)


def label_button(change: BulkChange) -> str:
    """Return the text of the button that carries out the change."""
    match change:
        case GiveRole():
            return _("Give role")
        case ReplacePerson():
            return _("Replace %(old)s with %(new)s") % {
                "old": change.old.label,
                "new": change.new.label,
            }
        case _:
            text = ngettext(
                "End access of %d person", "End access of %d people", len(change.users)
            )
            return text % len(change.users)


def describe_result(change: BulkChange, result) -> str:
    """Return the message about the result of a change."""
    texts = []
    if isinstance(change, EndAccess) and change.offboards:
        text = ngettext(
            "%d person was offboarded.", "%d people were offboarded.", len(change.users)
        )
        texts.append(text % len(change.users))
    if result.changed:
        text = ngettext(
            "%d role was changed.", "%d roles were changed.", result.changed
        )
        texts.append(text % result.changed)
    if result.skipped:
        text = ngettext(
            "%d role stayed the same.", "%d roles stayed the same.", result.skipped
        )
        texts.append(text % result.skipped)
    if result.invited:
        text = ngettext(
            "%d invitation is on its way.",
            "%d invitations are on their way.",
            result.invited,
        )
        texts.append(text % result.invited)
    return " ".join(texts)


def download_plan(request, plan: Plan, kind: str, *, page: str):
    """Send a file with all roles of a plan, both changed and unchanged.

    It does not contain the invitations.
    """
    number = len(plan.changes) + len(plan.skipped)
    record_export("role changes", actor=request.user, rows=number)
    rows = list_rows(plan)
    return respond_with_rows(request, kind, "role-changes", rows, page=page)


def list_rows(plan: Plan) -> Iterator[list[object]]:
    """Yield the header and the rows of a file with the roles before and after."""
    yield [
        "person_id",
        "person",
        "organization_id",
        "organization",
        "reference",
        "before",
        "before_until",
        "after",
        "after_until",
    ]
    for row in [*plan.changes, *plan.skipped]:
        yield [
            row.user.pk,
            row.user.username,
            row.organization.pk,
            row.organization.name,
            row.organization.reference,
            *list_role_and_end(row.before),
            *list_role_and_end(row.after),
        ]


def list_role_and_end(held: HeldRole | None) -> list[str]:
    """Return the key and the last day of a role, or empty texts for no role."""
    if held is None:
        return ["", ""]
    return [held.role.key, held.last_day]
