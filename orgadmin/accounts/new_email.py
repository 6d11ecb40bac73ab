"""Changes of one's own email address: the form, and the link to the new address."""

from __future__ import annotations

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _, gettext_lazy
from django.views.decorators.cache import never_cache
from django_tasks import TaskContext, task

from orgadmin.accounts import throttle
from orgadmin.accounts.devices import find_device, keep_device
from orgadmin.accounts.sessions.sessions import keep_session
from orgadmin.accounts.tokens import (
    NewEmail,
    make_new_email_token,
    read_new_email_token,
)
from orgadmin.models import User
from orgadmin.models.fields import LineEmailFormField
from orgadmin.models.user_queryset import is_same_email
from orgadmin.people import mail, outbox
from orgadmin.people.membership import lock

LINK_LIFETIME = 60 * 60  # seconds


class NewEmailForm(forms.Form):
    """Asks for the new address, and sends a link to it.

    The response is the same if someone else has the address. In that case, they get an
    email that says so instead of the link.
    """

    prefix = "email"

    email = LineEmailFormField(
        label=gettext_lazy("New email address"),
        max_length=User._meta.get_field("email").max_length,
        widget=forms.EmailInput({"autocomplete": "email", "class": "vTextField"}),
        help_text=gettext_lazy(
            "We send a link to the new address. Until you open it, your account keeps"
            " its old address."
        ),
    )

    def __init__(self, user: User, data: QueryDict | None = None) -> None:
        super().__init__(data)
        self.user = user

    def clean_email(self) -> str:
        address = self.cleaned_data["email"]
        if is_same_email(address, self.user.email):
            text = _("This is your email address already. Enter another one.")
            raise ValidationError(text, code="same")
        if not throttle.count_attempt("own mail", self.user.pk):
            text = _(
                "You asked for too many emails in a short time. Wait 15 minutes, then"
                " try again."
            )
            raise ValidationError(text, code="limit")
        return address

    def save(self, request: HttpRequest) -> None:
        """Queue the email, and add a message for the next page."""
        address = self.cleaned_data["email"]
        outbox.enqueue(
            mail_new_address,
            asker=self.user.pk,
            epoch=self.user.session_epoch,
            address=address,
        )
        text = _("A link is on its way to “%s”. Open it in this browser.")
        messages.success(request, text % address)


@task(takes_context=True, priority=outbox.URGENT)
def mail_new_address(
    context: TaskContext, *, asker: int, epoch: int, address: str, language: str
) -> None:
    """Send the link to the new address, or a notice if someone else has this address.

    Sends nothing if all sessions of the person who asked (`asker`) have been revoked
    since then, so that `epoch` no longer matches, or if the account is no longer
    active. `address` is what they typed. It is deleted together with this task.
    """
    person = User.objects.filter(pk=asker, session_epoch=epoch, is_active=True).first()
    if person is None:
        return
    owner = User.objects.find_by_email(address)
    if owner is not None:
        message = mail.write_message(
            "new_email_taken", to=owner.email, recipient=owner, language=language
        )
    else:
        token = make_new_email_token(person, address)
        path = reverse("new_email_link", args=[token])
        message = mail.write_link("new_email", person, path, language, to=address)
    outbox.deliver(message, context)


@never_cache
@login_required
def new_email_link_view(request: HttpRequest, token: str) -> HttpResponse:
    """Ask the person to confirm their new address, or change it if they have confirmed.

    The link only works in the account that asked for it. Otherwise, someone could enter
    another person's address in their own account, and that person would confirm it by
    opening the link.
    """
    try:
        with transaction.atomic():
            # The account must not change between the check and the write.
            lock(User, [request.user.pk])
            change = find_change(request.user, token)
            if change is not None and request.method == "POST":
                return change_email(request, change)
    except (ValidationError, IntegrityError):
        # This reveals that the address is taken, but only to people who can read mail
        # that is sent there.
        text = _("Someone else has this email address now. Enter another one.")
        messages.error(request, text)
        return redirect("admin:account")
    context = {**admin.site.each_context(request), "change": change}
    return render(request, "registration/new_email_link.html", context)


def find_change(user: User, token: str) -> NewEmail | None:
    """Return the change that a link confirms, or None.

    Returns None if the link is not valid, or if someone else has asked for it.
    """
    change = read_new_email_token(token, LINK_LIFETIME)
    return change if change is not None and change.user == user else None


def change_email(request: HttpRequest, change: NewEmail) -> HttpResponse:
    """Change the email address, and end all other sessions of the person.

    Raises `ValidationError` or `IntegrityError` if someone else has the address.
    """
    user = change.user
    device = find_device(request, user)
    user.changed_by = user
    user.email = change.address
    user.verified_email = change.address
    user.email_verified_at = timezone.now()
    user.clean()
    user.save()
    keep_session(request, user)
    text = _(
        "Your email address is now “%s”. You were signed out on all your other devices."
    )
    messages.success(request, text % user.email)
    response = redirect("admin:account")
    keep_device(response, user, device)
    return response
