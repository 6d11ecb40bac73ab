"""Emails about requests for a role."""

from __future__ import annotations

from django.conf import settings
from django.urls import reverse
from django_tasks import TaskContext, task

from orgadmin.access.roles import get_role
from orgadmin.models import AccessRequest, Organization
from orgadmin.models.access_request import Outcome
from orgadmin.people import outbox
from orgadmin.people.mail import (
    find_admins,
    find_recipient,
    find_recipients,
    name_person,
)
from orgadmin.people.message import write_message


@task(takes_context=True)
def tell_admins_of_request(
    context: TaskContext, *, request: int, language: str
) -> None:
    """Add a task for each admin who wants emails about other people.

    Does nothing if the request is no longer open. `language` is not used.
    """
    asked = AccessRequest.objects.open().filter(pk=request).first()
    if asked is None:
        return
    admins = find_admins([asked.organization_id])[asked.organization_id]
    with outbox.replace_task(context):
        for pk in sorted(admins):
            outbox.enqueue(tell_admin_of_request, request=request, user=pk)


@task(takes_context=True)
def tell_admin_of_request(
    context: TaskContext, *, request: int, user: int, language: str
) -> None:
    """Notify an admin that someone has asked for a role.

    Sends nothing if the request is no longer open, or if the recipient can no longer
    manage the people of the organization. `language` is not used, because it is the
    language of the person who asked.
    """
    admin = find_recipients("mail_people").filter(pk=user).first()
    requests = AccessRequest.objects.open().select_related("organization", "user")
    asked = requests.filter(pk=request).first()
    if admin is None or asked is None:
        return
    organization = asked.organization
    permissions = Organization.objects.permissions_on(admin, organization.pk)
    if "manage_members" not in permissions:
        return
    page = reverse("admin:orgadmin_organization_requests", args=[organization.pk])
    message = write_message(
        "access_request",
        to=admin.email,
        recipient=admin,
        language=settings.LANGUAGE_CODE,
        trusted_values={"page": f"{settings.BASE_URL}{page}?request={asked.pk}"},
        person=name_person(asked.user),
        organization=organization,
        role=get_role(asked.role).label,
        reason=asked.reason,
    )
    outbox.deliver(message, context)


@task(takes_context=True)
def tell_declined(
    context: TaskContext, *, request: int, user: int, language: str
) -> None:
    """Notify a person that their request was declined, with the reason if there is one.

    The person gets this email even if they have chosen not to get other emails.
    `language` is not used, because it is the actor's.
    """
    declined = AccessRequest.objects.filter(pk=request, outcome=Outcome.DECLINED)
    asked = declined.filter(user=user).first()
    person = find_recipient(user)
    if asked is None or person is None:
        return
    message = write_message(
        "access_declined",
        to=person.email,
        recipient=person,
        language=settings.LANGUAGE_CODE,
        # The organization's name when they asked. They must not learn its current name.
        organization=asked.organization_name,
        role=get_role(asked.role).label,
        reason=asked.answer,
    )
    outbox.deliver(message, context)
