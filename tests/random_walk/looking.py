"""What people are shown, and whether the world says that they may see it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from django.contrib.auth.models import Group
from django.utils import timezone

from orgadmin.models import Invitation, MembershipEvent, Organization, User
from tests.factories import run_doctor
from tests.random_walk.world import World, find_numbers

if TYPE_CHECKING:
    from tests.random_walk.walking import Walk

ORGANIZATIONS = "/admin/orgadmin/organization/"
PEOPLE = "/admin/orgadmin/user/"
CONTACTS = "/admin/orgadmin/contact/"

# Pages that everyone can request. Their content depends on the reader.
SITE_PAGES = [
    "/admin/",
    "/admin/?q=canary",
    "/admin/activity/",
    "/admin/all-activity/",
    ORGANIZATIONS,
    f"{ORGANIZATIONS}?q=canary",
    f"{ORGANIZATIONS}?admins=ending",
    f"{ORGANIZATIONS}export/",
    f"{ORGANIZATIONS}import/",
    "/admin/orgadmin/import/",
    f"{ORGANIZATIONS}add/",
    CONTACTS,
    f"{CONTACTS}?q=canary",
    f"{CONTACTS}add/",
    PEOPLE,
    f"{PEOPLE}?q=canary",
    f"{PEOPLE}add/",
    "/admin/auth/group/",
    "/admin/orgadmin/membershipevent/",
    "/admin/orgadmin/membershipevent/?q=canary",
    "/admin/orgadmin/auditevent/",
    "/admin/orgadmin/auditevent/export/",
    "/admin/orgadmin/accessreview/",
    "/admin/orgadmin/accessreview/add/",
    "/admin/autocomplete/?app_label=orgadmin&model_name=contact"
    "&field_name=organization&term=canary",
    "/admin/autocomplete/?app_label=orgadmin&model_name=user&field_name=groups&term=c",
    "/admin/autocomplete/?app_label=orgadmin"
    "&model_name=organizationuserobjectpermission&field_name=user&term=canary",
]
PAGES_OF_ORGANIZATION = [
    "overview",
    "change",
    "history",
    "contacts",
    "people",
    "ledger",
    "ledger/?csv=1",
    "ledger/?on={today}",
    "requests",
    "review",
    "access",
    "delete",
]
PAGES_OF_PERSON = ["change", "history", "access", "activity", "leave", "delete"]
PAGES_OF_CONTACT = ["change", "history", "delete"]

# Which people can open which pages of an organization.
FOR_VIEWERS = {"overview", "change", "history", "contacts"}
FOR_MANAGERS = {"people", "ledger", "access", "requests", "review"}


class Difference(AssertionError):
    """The site and the world differ."""


def read(response: Any) -> str:
    """Return the text of a response, without what is only encoded."""
    content = b"".join(response) if response.streaming else response.content
    text = unescape(content.decode())
    return f"{text} {unquote(response.headers.get('Location', ''))}"


def compare_shown(text: str, allowed: set[int], what: str) -> None:
    """Raise `Difference` if a text contains a number that is not allowed."""
    hidden = find_numbers(text) - allowed
    if hidden:
        raise Difference(f"{what} shows {name_numbers(hidden)}")


def name_numbers(numbers: set[int]) -> str:
    return ", ".join(f"canary{number}x" for number in sorted(numbers))


def list_pages(walk: Walk) -> list[str]:
    """Return the URL of every page that anybody may ask for.

    Among them are those of what was deleted, and of what never existed.
    """
    world = walk.world
    pages = list(SITE_PAGES)
    pages += list_pages_of(world.organization_pks | {walk.missing_pk})
    for pk in sorted(world.person_pks | {walk.missing_pk}):
        pages += [f"{PEOPLE}{pk}/{page}/" for page in PAGES_OF_PERSON]
    for pk in sorted(world.contact_pks | {walk.missing_pk}):
        pages += [f"{CONTACTS}{pk}/{page}/" for page in PAGES_OF_CONTACT]
    return pages


def list_pages_of(organizations: Iterable[int]) -> list[str]:
    """Return the URL of every page of organizations."""
    today = timezone.localdate().isoformat()
    pages = []
    for pk in sorted(organizations):
        for page in PAGES_OF_ORGANIZATION:
            path = page.format(today=today)
            end = "" if "?" in path else "/"
            pages.append(f"{ORGANIZATIONS}{pk}/{path}{end}")
    return pages


def look(walk: Walk, pk: int | None, url: str) -> None:
    """Open a page as a person. Raises `Difference` if it shows too much.

    Also if they are shown too little: the pages of what they may view open, and the
    list has all their organizations.
    """
    client = walk.sign_in(pk)
    response = client.get(url)
    text = read(response)
    what = f"GET {url} as {walk.describe(pk)}"
    compare_shown(text, walk.world.find_visible(pk), what)
    if url.startswith(ORGANIZATIONS):
        compare_status(walk, pk, url, response.status_code)
    if url in (ORGANIZATIONS, f"{ORGANIZATIONS}export/"):
        compare_list(walk, pk, text, what)


def compare_status(walk: Walk, pk: int | None, url: str, status: int) -> None:
    """Raise `Difference` if a page of an organization opens for the wrong people."""
    key, _slash, page = url.removeprefix(ORGANIZATIONS).partition("/")
    page = page.partition("/")[0]
    if page not in FOR_VIEWERS | FOR_MANAGERS:
        return
    organization = walk.world.organizations.get(int(key))
    expected = 200
    if organization is None or not walk.world.may_view(pk, organization):
        # What a person may not view answers like what does not exist.
        missing = url.replace(f"/{key}/", f"/{walk.missing_pk}/")
        expected = walk.sign_in(pk).get(missing).status_code
    elif page in FOR_MANAGERS and not walk.world.may_manage(pk, organization):
        # They know the organization, so the page says that their role is not enough.
        expected = 403
    if status != expected:
        who = walk.describe(pk)
        raise Difference(f"GET {url} as {who} answers {status}, not {expected}")


def compare_list(walk: Walk, pk: int | None, text: str, what: str) -> None:
    for organization in walk.world.organizations.values():
        if walk.world.may_view(pk, organization):
            missing = find_numbers(organization.name) - find_numbers(text)
            if missing:
                raise Difference(f"{what} lacks {name_numbers(missing)}")


def compare_database(walk: Walk) -> None:
    """Raise `Difference` if the tables do not contain what the world contains."""
    people = walk.world.people.values()
    organizations = walk.world.organizations.values()
    compare(
        "people",
        User.objects.values_list("pk", "username", "email", "is_active"),
        [(row.pk, row.username, row.email, row.is_active) for row in people],
    )
    superusers = User.objects.filter(is_superuser=True)
    compare(
        "superusers",
        superusers.values_list("pk"),
        [(row.pk,) for row in people if row.is_superuser],
    )
    compare(
        "organizations",
        Organization.objects.values_list("pk", "name", "address", "tax_id"),
        [(row.pk, row.name, row.address, row.tax_id) for row in organizations],
    )
    compare(
        "invitations",
        Invitation.objects.values_list("organization", "email", "role", "invited_by"),
        list_invitations(walk.world),
    )
    memberships = read_memberships()
    compare("roles", memberships, list_roles(walk.world))
    compare("the membership log", replay_log(), memberships)


def compare(
    what: str, found: Iterable[tuple[Any, ...]], expected: Iterable[tuple[Any, ...]]
) -> None:
    rows = set(found)
    expected_rows = set(expected)
    more = rows - expected_rows
    missing = expected_rows - rows
    if more or missing:
        raise Difference(f"{what}: there is {more}, and {missing} is missing")


def list_invitations(world: World) -> Iterator[tuple[int, str, str, int]]:
    for organization in world.organizations.values():
        for row in organization.invitations:
            yield organization.pk, row.email, row.role, row.inviter


def list_roles(world: World) -> Iterator[tuple[int, int, str]]:
    for organization in world.organizations.values():
        for pk, role in organization.roles.items():
            yield organization.pk, pk, role


def read_memberships() -> set[tuple[int, int, str]]:
    """Return (organization, person, role) of each membership in the tables."""
    members = defaultdict(list)
    for group, user in Group.user_set.through.objects.values_list("group", "user"):
        members[group].append(user)
    memberships = set()
    for pk, admin, reviewer in Organization.objects.values_list(
        "pk", "admin", "reviewer"
    ):
        memberships.update((pk, user, "admin") for user in members[admin])
        memberships.update((pk, user, "reviewer") for user in members[reviewer])
    return memberships


def replay_log() -> set[tuple[int, int, str]]:
    """Return (organization, person, role) as the membership log explains it."""
    roles: dict[tuple[int, int], set[str]] = defaultdict(set)
    for event in MembershipEvent.objects.order_by("pk"):
        key = (event.organization_key, event.user_key)
        if event.event == "joined":
            roles[key] = {event.role}
        elif event.event == "found":
            roles[key].add(event.role)
        elif event.event == "left":
            roles[key].discard(event.role)
    return {(*key, role) for key, found in roles.items() for role in found}


def compare_with_doctor() -> None:
    status, output = run_doctor()
    if status:
        raise Difference(f"doctor reports: {output}")


def choose_readers(walk: Walk) -> Iterator[int | None]:
    """Yield everyone who can look: all people, and a visitor."""
    yield from sorted(walk.world.person_pks)
    yield None
