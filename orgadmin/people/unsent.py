"""Emails that have not been sent: their recipients, and whether they are late."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max, Min, QuerySet, Value
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from orgadmin.models import AuditEvent, Invitation, MailWorker, User
from orgadmin.models.addresses import fold_email
from orgadmin.people.outbox import get_values

# If no worker has sent a heartbeat for this time, pages say that no worker is running.
MAX_SILENCE = timedelta(minutes=5)

# Emails that have been waiting for longer are late.
LATE_AFTER = timedelta(minutes=15)

# {path of a task: name of what it sends or does}
KINDS: dict[str, str | Promise] = {
    "orgadmin.accounts.confirm_email.mail_link": _("link to confirm an address"),
    "orgadmin.accounts.new_email.mail_new_address": _("link to change an address"),
    "orgadmin.accounts.password_link.mail_link": _("link to choose a password"),
    "orgadmin.accounts.password_link.renew_link": _("link to choose a password"),
    "orgadmin.accounts.reset_mail.answer_request": _("request for a new password"),
    "orgadmin.accounts.reset_mail.send_reset_link": _("link to set a new password"),
    "orgadmin.accounts.reset_mail.send_sign_in_help": _("how to sign in"),
    "orgadmin.accounts.set_up_link.mail_link": _("link to set up a second factor"),
    "orgadmin.records.import_jobs.mail_result": _("result of an import"),
    "orgadmin.records.import_jobs.prepare_import": _("preview of an import"),
    "orgadmin.records.import_jobs.run_import": _("import"),
    "orgadmin.records.import_jobs.run_undo": _("undoing an import"),
    "orgadmin.people.bulk_jobs.run_bulk_change": _("bulk change of roles"),
    "orgadmin.people.end_mail.remind_admin": _("end of access, to an admin"),
    "orgadmin.people.end_mail.remind_member": _("end of access, to the member"),
    "orgadmin.people.end_mail.warn_superuser": _("end of the last admin's access"),
    "orgadmin.people.mail.send_invitation": _("invitation"),
    "orgadmin.people.mail.tell_admin": _("change of a member, to an admin"),
    "orgadmin.people.mail.tell_admins": _("changes of members, to all admins"),
    "orgadmin.people.mail.tell_inviter": _("accepted invitation, to the inviter"),
    "orgadmin.people.mail.tell_member": _("change of a role, to the member"),
    "orgadmin.people.mail.tell_members": _("changes of roles, to all members"),
    "orgadmin.people.request_mail.tell_admin_of_request": _(
        "request for access, to an admin"
    ),
    "orgadmin.people.request_mail.tell_admins_of_request": _(
        "request for access, to all admins"
    ),
    "orgadmin.people.request_mail.tell_declined": _("declined request for access"),
    "orgadmin.people.review_items.prepare_review": _("start of an access review"),
    "orgadmin.people.review_mail.ask_to_review": _("request to review access"),
    "orgadmin.people.security_mail.tell_person": _("security, to the person"),
    "orgadmin.people.security_mail.tell_superuser": _("security, to a superuser"),
}


@dataclass(frozen=True)
class OutboxState:
    """The state of the outbox and its workers."""

    seen_at: datetime | None  # the last heartbeat of a worker
    waiting_since: datetime | None  # when the oldest waiting task was added
    waiting: int  # tasks that wait, or are being run
    given_up: int  # tasks that have failed for good

    @property
    def is_stopped(self) -> bool:
        return self.seen_at is None or self.seen_at < timezone.now() - MAX_SILENCE

    @property
    def is_late(self) -> bool:
        since = self.waiting_since
        return since is not None and since < timezone.now() - LATE_AFTER

    @property
    def is_healthy(self) -> bool:
        return not (self.is_stopped or self.is_late or self.given_up)


def find_state() -> OutboxState:
    """Return the state of the outbox. Runs one query."""
    tasks = DBTaskResult.objects.order_by().values_list("status")
    workers = MailWorker.objects.annotate(kind=Value("worker")).values_list("kind")
    rows = tasks.annotate(Count("pk"), Min("enqueued_at")).union(
        workers.annotate(Count("pk"), Max("seen_at")), all=True
    )
    seen_at = None
    waiting_since = []
    numbers: dict[str, int] = {}
    for kind, number, at in rows:
        numbers[kind] = number
        if kind == "worker":
            seen_at = at
        elif kind != TaskResultStatus.FAILED:
            waiting_since.append(at)
    return OutboxState(
        seen_at=seen_at,
        waiting_since=min(waiting_since, default=None),
        waiting=sum(
            numbers.get(status, 0)
            for status in (TaskResultStatus.READY, TaskResultStatus.RUNNING)
        ),
        given_up=numbers.get(TaskResultStatus.FAILED, 0),
    )


def send_again(mail: QuerySet[DBTaskResult]) -> int:
    """Queue messages again as if they were new, and return their number.

    Leaves out messages that are being sent.
    """
    now = timezone.now()
    return mail.exclude(status=TaskResultStatus.RUNNING).update(
        status=TaskResultStatus.READY,
        run_after=now,
        enqueued_at=now,
        finished_at=None,
        worker_ids=[],
        traceback="",
    )


def discard(mail: QuerySet[DBTaskResult]) -> int:
    """Delete the messages among these that were given up, and return their number."""
    deleted, _rows = mail.filter(status=TaskResultStatus.FAILED).delete()
    return deleted


class Recipients:
    """Finds the addresses of messages, with up to three queries for all of them."""

    def __init__(self, mail: Collection[DBTaskResult]) -> None:
        invitations = Invitation.objects.filter(
            pk__in=collect_values(mail, "invitation")
        )
        self.invited = dict(invitations.values_list("pk", "email"))
        self.events = AuditEvent.objects.in_bulk(collect_values(mail, "event"))
        keys = collect_values(mail, "user") | collect_values(mail, "person")
        keys |= {event.user_key for event in self.events.values() if event.user_key}
        self.users = dict(User.objects.filter(pk__in=keys).values_list("pk", "email"))

    def find(self, message: DBTaskResult) -> str:
        """Return the address of a message, or "" if it is not known.

        The address may differ from the one to which a worker sends a message about
        security, if the account's address has changed.
        """
        values = get_values(message)
        if "invitation" in values:
            return self.invited.get(values["invitation"], "")
        if "user" in values:
            return self.users.get(values["user"], "")
        if "person" in values:
            return self.users.get(values["person"], "")
        if "event" in values:
            return self._find_by_event(values["event"], values["address"])
        return values.get("address", "")

    def _find_by_event(self, key: int, name: str) -> str:
        event = self.events.get(key)
        if event is None or event.user_key is None:
            return ""
        return event.personal.get(name) or self.users.get(event.user_key, "")


def collect_values(mail: Iterable[DBTaskResult], name: str) -> set[Any]:
    """Return the values of the argument `name` of these tasks."""
    return {
        get_values(message)[name] for message in mail if name in get_values(message)
    }


def find_mail_to(user: User, folds: Collection[str]) -> list[DBTaskResult]:
    """Return the unsent messages to a person, and other tasks about them.

    `folds` are the normal forms of the person's addresses. Reads all unsent messages,
    because their arguments are stored as JSON.
    """
    found = []
    mail = list(DBTaskResult.objects.order_by("enqueued_at"))
    recipients = Recipients(mail)
    for message in mail:
        values = get_values(message)
        names = [name for name in ("user", "person", "asker") if name in values]
        is_theirs = bool(names) and values[names[0]] == user.pk
        if is_theirs or fold_email(recipients.find(message)) in folds:
            found.append(message)
    return found
