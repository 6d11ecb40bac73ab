"""The page of emails that could not be sent, for superusers.

It also lists other tasks, such as imports, that a worker gave up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.translation import gettext as _, ngettext
from django_tasks_db.models import DBTaskResult

from orgadmin.access.rule import is_active_superuser
from orgadmin.accounts.questions import Question, is_confirmed, show_question
from orgadmin.admin.lists.changelist import get_page
from orgadmin.people.outbox import is_queued
from orgadmin.people.unsent import (
    KINDS,
    OutboxState,
    Recipients,
    discard,
    find_state,
    send_again,
)


@dataclass(frozen=True)
class UnsentEmail:
    """An email that the worker gave up sending, as the page shows it."""

    key: UUID
    kind: str | Promise
    recipient: str
    at: datetime
    reason: str


def find_trouble(request: HttpRequest) -> OutboxState | None:
    """Return the state of the outbox, or None if nothing is wrong with it.

    Returns None without a query for everyone except superusers, and with DEBUG, when
    emails are sent immediately.
    """
    if not is_active_superuser(request.user) or not is_queued():
        return None
    state = find_state()
    return None if state.is_healthy else state


def unsent_mail_view(request: HttpRequest) -> HttpResponse:
    """Show the unsent emails, or send or discard them.

    For everyone except superusers, the page does not exist.
    """
    if not is_active_superuser(request.user):
        raise Http404
    if request.method == "POST":
        if "discard" in request.POST and not is_confirmed(request):
            count = choose_mail(request).count()
            if count:
                return ask_to_discard(request, count)
        change_mail(request)
        return HttpResponseRedirect(request.path)
    given_up = DBTaskResult.objects.failed().order_by("-finished_at", "pk")
    page = get_page(request, given_up)
    recipients = Recipients(page.object_list)
    page.object_list = [describe(message, recipients) for message in page.object_list]
    context = {
        **admin.site.each_context(request),
        "title": _("Unsent emails"),
        "page": page,
        "state": find_state() if is_queued() else None,
    }
    return render(request, "admin/orgadmin/unsent_mail.html", context)


def describe(message: DBTaskResult, recipients: Recipients) -> UnsentEmail:
    return UnsentEmail(
        key=message.pk,
        kind=KINDS.get(message.task_path, message.task_path),
        recipient=recipients.find(message),
        at=message.finished_at,
        reason=message.traceback,
    )


def ask_to_discard(request: HttpRequest, count: int) -> HttpResponse:
    """Ask before emails are deleted without being sent."""
    text = ngettext(
        "%d email is deleted without being sent. This cannot be undone.",
        "%d emails are deleted without being sent. This cannot be undone.",
        count,
    )
    button = ngettext("Discard %d email", "Discard %d emails", count)
    names = [name for name in ("all", "message") if name in request.POST]
    question = Question(
        title=ngettext("Discard %d email?", "Discard %d emails?", count) % count,
        text=text % count,
        button=button % count,
        fields={name: request.POST[name] for name in ("discard", *names)},
        cancel_url=request.path,
    )
    return show_question(request, question)


def choose_mail(request: HttpRequest) -> QuerySet[DBTaskResult]:
    """Return the unsent email that was selected in the form, or all unsent emails."""
    given_up = DBTaskResult.objects.failed()
    if "all" in request.POST:
        return given_up
    return given_up.filter(pk=read_key(request.POST.get("message", "")))


def change_mail(request: HttpRequest) -> None:
    """Send or discard the unsent emails that were selected in the form."""
    chosen = choose_mail(request)
    if "discard" in request.POST:
        number = discard(chosen)
        text = ngettext("%d email was discarded.", "%d emails were discarded.", number)
    else:
        number = send_again(chosen)
        text = ngettext(
            "%d email is on its way again.", "%d emails are on their way again.", number
        )
    messages.success(request, text % number)


def read_key(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
