"""The email that asks admins to review who has access to their organizations."""

from __future__ import annotations

from django.conf import settings
from django.urls import reverse
from django_tasks import TaskContext, task

from orgadmin.models import AccessReview, Membership, Organization
from orgadmin.people import outbox
from orgadmin.people.mail import find_recipient
from orgadmin.people.message import write_message

# An email names this many organizations, and says how many more there are.
MAX_ORGANIZATIONS = 20


@task(takes_context=True)
def ask_to_review(
    context: TaskContext, *, user: int, review: int, language: str
) -> None:
    """Ask a person to review their organizations that have open items.

    Sends nothing if they are no longer an admin of any such organization, or if the
    review can no longer be answered. `language` is not used.
    """
    person = find_recipient(user)
    asked = AccessReview.objects.answerable().filter(pk=review).first()
    if person is None or asked is None:
        return
    unanswered = asked.sections.unanswered().exclude(organization_key=None)
    organizations = Organization.objects.permitted(person, "manage_members").filter(
        pk__in=unanswered.values("organization_key"),
        admin__in=Membership.objects.groups_of(person),
    )
    number = organizations.count()
    if not number:
        return
    first = list(organizations[:MAX_ORGANIZATIONS])
    path = reverse("admin:index")
    if number == 1:
        path = reverse("admin:orgadmin_organization_review", args=[first[0].pk])
    message = write_message(
        "review",
        to=person.email,
        recipient=person,
        language=settings.LANGUAGE_CODE,
        trusted_values={
            "page": settings.BASE_URL + path,
            "due": asked.due_on,
            "ends_access": asked.ends_access,
        },
        organizations=[organization.name for organization in first],
        more=number - len(first),
    )
    outbox.deliver(message, context)
