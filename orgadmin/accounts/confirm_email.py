"""The link with which people confirm their email address."""

from __future__ import annotations

from django.contrib import admin, messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django_tasks import TaskContext, task

from orgadmin.accounts.own_mail import send_to_own_address
from orgadmin.models import User
from orgadmin.people import mail, outbox
from orgadmin.people.link_tokens import make_link_token, read_link_token
from orgadmin.people.membership import lock

# The purpose of the links that confirm an email address.
PURPOSE = "confirm email"

LINK_LIFETIME = 60 * 60  # seconds


@never_cache
@login_required
def confirm_email_view(request: HttpRequest) -> HttpResponse:
    """Show whether the person's email address is confirmed, or send them a link."""
    user = request.user
    if request.method == "POST" and user.email and not user.has_verified_email:
        send_to_own_address(request, mail_link, user=user.pk)
        return redirect("confirm_email")
    return render(
        request, "registration/confirm_email.html", admin.site.each_context(request)
    )


@task(takes_context=True, priority=outbox.URGENT)
def mail_link(context: TaskContext, *, user: int, language: str) -> None:
    """Send the link to the person's current address."""
    person = mail.find_recipient(user)
    if person is None:
        return
    token = make_link_token(person, PURPOSE)
    path = reverse("confirm_email_link", args=[token])
    message = mail.write_link("confirm_email", person, path, language)
    outbox.deliver(message, context)


@never_cache
@login_required
def confirm_email_link_view(request: HttpRequest, token: str) -> HttpResponse:
    """Confirm the email address that the link was sent to.

    The link only works for people who are signed in to the account that asked for it.
    Otherwise, someone could enter another person's address in their own account, and
    that person would confirm it by opening the link.
    """
    if request.method == "POST" and confirm(request.user, token):
        messages.success(request, _("Your email address is confirmed."))
        return redirect("confirm_email")
    is_valid = find_owner(request.user, token) is not None
    context = {**admin.site.each_context(request), "is_valid": is_valid}
    return render(request, "registration/confirm_email_link.html", context)


@transaction.atomic
def confirm(user: User, token: str) -> bool:
    """Confirm the user's email address. Return False if the link is not valid."""
    # The address must not change between the check and the write.
    lock(User, [user.pk])
    owner = find_owner(user, token)
    if owner is None:
        return False
    owner.changed_by = owner
    owner.verify_email()
    return True


def find_owner(user: User, token: str) -> User | None:
    """Return the user, reloaded, if the link was sent to their current address.

    Returns None if the link is not valid, or belongs to someone else.
    """
    owner = read_link_token(token, PURPOSE, LINK_LIFETIME)
    return owner if owner == user else None
