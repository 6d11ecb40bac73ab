"""Emails for people who forgot their password or lost their invitation."""

from __future__ import annotations

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.urls import reverse
from django.utils import translation
from django_tasks import TaskContext, task
from django_tasks.base import Task

from orgadmin.accounts.password_link import may_renew_link, renew_link
from orgadmin.accounts.tokens import make_reset_path
from orgadmin.models import User
from orgadmin.people import mail, outbox
from orgadmin.people.invitations import resend_invitations


@task(takes_context=True, priority=outbox.FOR_VISITORS)
def answer_request(context: TaskContext, *, address: str, language: str) -> None:
    """Find the owner of an address, and queue a task for each email to send there.

    The page queues this task for every address that is entered, so its response takes
    the same time whether or not someone has the address. `address` is what the visitor
    typed. It is deleted together with this task.
    """
    with translation.override(language), outbox.replace_task(context):
        user = User.objects.find_by_email(address)
        if user is not None and user.is_active:
            outbox.enqueue(choose_answer(user), user=user.pk)
        resend_invitations(address)


def choose_answer(user: User) -> Task:
    """Return the task that mails a person how they can sign in."""
    if user.has_usable_password():
        return send_reset_link
    return renew_link if may_renew_link(user) else send_sign_in_help


@task(takes_context=True, priority=outbox.FOR_VISITORS)
def send_reset_link(context: TaskContext, *, user: int, language: str) -> None:
    """Send a link to set a new password to the person's current address."""
    person = mail.find_recipient(user)
    if person is None or not person.has_usable_password():
        return
    trusted_values = {
        "link": settings.BASE_URL + make_reset_path(person),
        # Shown unchanged, so that people can type it. Usernames contain neither spaces
        # nor slashes, so they cannot contain a link.
        "username": person.get_username(),
    }
    message = mail.write_message(
        "reset",
        to=person.email,
        recipient=person,
        language=language,
        trusted_values=trusted_values,
    )
    outbox.deliver(message, context)


@task(takes_context=True, priority=outbox.FOR_VISITORS)
def send_sign_in_help(context: TaskContext, *, user: int, language: str) -> None:
    """Tell a person without a password how they can sign in."""
    person = mail.find_recipient(user)
    if person is None or person.has_usable_password():
        return
    # All values come from the settings.
    trusted_values = {
        "link": settings.BASE_URL + reverse("admin:login"),
        "buttons": list_buttons(person),
        "contact": settings.ACCESS_CONTACT,
    }
    message = mail.write_message(
        "sign_in_help",
        to=person.email,
        recipient=person,
        language=language,
        trusted_values=trusted_values,
    )
    outbox.deliver(message, context)


def list_buttons(user: User) -> list[str]:
    """Return the names of the providers with which a person can sign in.

    These are the providers that the person has used. A person who has not used any yet
    can use all of them if their address is verified.
    """
    providers = {provider.id: provider.name for provider in settings.OIDC_PROVIDERS}
    links = SocialAccount.objects.filter(user=user, provider__in=providers)
    used = [providers[link.provider] for link in links.order_by("pk")]
    if used:
        return used
    return list(providers.values()) if user.has_verified_email else []
