"""Explains why a person cannot open a page of an object that they can view."""

from dataclasses import dataclass

from django.conf import settings

from orgadmin.access.roles import ADMIN, Role
from orgadmin.gate.answers import get_gate
from orgadmin.models import Membership, Organization, User
from orgadmin.people.membership import find_role

# The maximum number of admins that the page names.
ADMINS_NAMED = 5


@dataclass(frozen=True)
class Refusal:
    """The reasons why a person cannot open a page.

    `organization` is the organization on which the page requires a permission, and
    `role` is the person's role in it. `admins_can` is True if the organization's admins
    can open the page. `admins` contains some of the admins, or is empty if the person
    is not allowed to know them.
    """

    page: str
    organization: Organization
    role: Role | None
    admins_can: bool
    admins: list[User]


def explain_refusal(request, page, organization, permission):
    """Return why a person cannot open a page. Runs up to three queries."""
    gate = get_gate(request)
    admins_can = permission in ADMIN.permissions
    permissions = gate.permissions_on(organization.pk)
    admins = []
    if admins_can and may_see_admins(permissions):
        admins = list(find_admins(organization)[:ADMINS_NAMED])
    return Refusal(
        page=page,
        organization=organization,
        role=find_role(organization, request.user),
        admins_can=admins_can,
        admins=admins,
    )


def may_see_admins(permissions):
    """Return whether these permissions allow someone to know who the admins are."""
    if settings.REVIEWERS_SEE_ADMINS:
        return "view" in permissions
    return "manage_members" in permissions


def find_admins(organization):
    """Return the active admins of an organization."""
    group_id = getattr(organization, ADMIN.attname)
    return User.objects.filter(
        pk__in=Membership.objects.users_in([group_id]), is_active=True
    ).order_by("username")
