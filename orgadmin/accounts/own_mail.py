"""Emails that people request to their own address."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django_tasks.base import Task

from orgadmin.accounts import throttle
from orgadmin.people import outbox


def send_to_own_address(request: HttpRequest, task: Task, **values: Any) -> None:
    """Queue a task that mails a link to the signed-in person, and show a message.

    `values` are the arguments of the task. If the person has requested too many emails,
    no task is queued, and the message says so.
    """
    user = request.user
    if not throttle.count_attempt("own mail", user.pk):
        text = _(
            "Too many emails were sent to “%s” in a short time. Wait 15 minutes, then"
            " try again."
        )
        messages.error(request, text % user.email)
        return
    outbox.enqueue(task, **values)
    text = _("A link is on its way to “%s”. Open it in this browser.")
    messages.success(request, text % user.email)
