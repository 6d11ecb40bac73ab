"""What people do in a random walk, on the site's pages.

A step is a function that takes the walk. It chooses who does what, does it, and changes
the world accordingly. It returns what it did. If that is impossible at the moment, it
raises `NothingToDo` before it does anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.core import mail
from django.test import Client

from orgadmin.models import Contact, Invitation, Organization, User
from tests.factories import NO_CONTACTS
from tests.random_walk import world as worlds
from tests.random_walk.looking import (
    CONTACTS,
    ORGANIZATIONS,
    PEOPLE,
    Difference,
    read,
)
from tests.random_walk.world import Person, World, find_numbers

if TYPE_CHECKING:
    from tests.random_walk.walking import Walk

ROLES = ["admin", "reviewer"]
LOGIN = "/admin/login/"
DEAD_LINK = "This link no longer works"
PASSWORD = "correct horse battery"
INVITATION = "/admin/invitation/"

Step = Callable[["Walk"], str]


class NothingToDo(Exception):
    """A step is not possible now, for example because there is no organization."""


# {step: how often it is chosen, compared with the others}
STEPS: dict[Step, int] = {}


def step(weight: int) -> Callable[[Step], Step]:
    def register(function: Step) -> Step:
        STEPS[function] = weight
        return function

    return register


# Who and what


def choose_superuser(walk: Walk) -> Person:
    people = walk.world.people.values()
    return walk.choose([row for row in people if row.is_active and row.is_superuser])


def choose_organization(walk: Walk) -> worlds.Organization:
    organizations = list(walk.world.organizations.values())
    if not organizations:
        raise NothingToDo
    return walk.choose(organizations)


def choose_manager(walk: Walk, organization: worlds.Organization) -> Person:
    """Return someone who may change an organization and its people."""
    people = walk.world.people.values()
    return walk.choose(
        [row for row in people if walk.world.may_manage(row.pk, organization)]
    )


def choose_other(walk: Walk, actor: Person) -> Person:
    """Return someone whose access a superuser is allowed to end completely.

    The first person stays, so that there is always a superuser.
    """
    people = walk.world.people.values()
    others = [row for row in people if row.pk not in (walk.root, actor.pk)]
    if not others:
        raise NothingToDo
    return walk.choose(others)


def list_confirmed(world: World) -> str:
    """Return what the hidden field of a page would confirm: everything."""
    return " ".join(str(pk) for pk in world.organizations)


# Organizations and contacts


@step(6)
def add_organization(walk: Walk) -> str:
    world = walk.world
    if len(world.organizations) >= walk.most_organizations:
        raise NothingToDo
    actor = choose_superuser(walk)
    texts = {
        "name": walk.name("Company"),
        "address": walk.name("Street"),
        "tax_id": walk.name("T"),
    }
    data = {**NO_CONTACTS, **texts, "namesake": texts["name"]}
    walk.post(actor.pk, f"{ORGANIZATIONS}add/", data)
    pk = Organization.objects.get(name=texts["name"]).pk
    if pk in world.organization_pks:
        raise Difference(f"the ID {pk} of an organization was issued again")
    organization = worlds.Organization(pk, **texts)
    world.remember(organization)
    world.organizations[pk] = organization
    world.organization_pks.add(pk)
    return f"{actor.username} adds {organization.name} ({pk})"


@step(8)
def edit_organization(walk: Walk) -> str:
    organization = choose_organization(walk)
    actor = choose_manager(walk, organization)
    field = walk.choose(["name", "address", "tax_id"])
    before = getattr(organization, field)
    setattr(organization, field, walk.name(before.split()[0]))
    walk.world.remember(organization)
    data = {
        **NO_CONTACTS,
        "name": organization.name,
        "address": organization.address,
        "tax_id": organization.tax_id,
    }
    walk.post(actor.pk, f"{ORGANIZATIONS}{organization.pk}/change/", data)
    return (
        f"{actor.username} changes the {field} of organization {organization.pk}"
        f" from {before} to {getattr(organization, field)}"
    )


@step(3)
def delete_organization(walk: Walk) -> str:
    organization = choose_organization(walk)
    actor = choose_superuser(walk)
    url = f"{ORGANIZATIONS}{organization.pk}/delete/"
    walk.post(actor.pk, url, {"post": "yes"})
    walk.post(actor.pk, f"{ORGANIZATIONS}archived/{organization.pk}/purge/", {})
    del walk.world.organizations[organization.pk]
    walk.world.forget_links(organization=organization.pk)
    return f"{actor.username} deletes {organization.name} ({organization.pk})"


@step(6)
def change_contact(walk: Walk) -> str:
    """Add, rename or delete a contact."""
    organization = choose_organization(walk)
    actor = choose_manager(walk, organization)
    name = walk.name("Contact")
    data = {"organization": organization.pk, "name": name}
    pk = walk.choose([*organization.contacts, None])
    if pk is None:
        walk.post(actor.pk, f"{CONTACTS}add/", data)
        pk = Contact.objects.get(name=name).pk
        if pk in walk.world.contact_pks:
            raise Difference(f"the ID {pk} of a contact was issued again")
        walk.world.contact_pks.add(pk)
    elif walk.choose([True, False]):
        walk.post(actor.pk, f"{CONTACTS}{pk}/change/", data)
    else:
        walk.post(actor.pk, f"{CONTACTS}{pk}/delete/", {"post": "yes"})
        del organization.contacts[pk]
        return f"{actor.username} deletes contact {pk} of {organization.pk}"
    organization.contacts[pk] = name
    walk.world.remember(organization)
    return f"{actor.username} names contact {pk} of {organization.pk} {name}"


# Invitations


def choose_address(walk: Walk) -> str:
    """Return a new address, or that of a person."""
    new = f"{walk.name()}@example.com"
    people = [person.email for person in walk.world.people.values()]
    return walk.choose([new, new, walk.choose(people)])


@step(12)
def invite(walk: Walk) -> str:
    organization = choose_organization(walk)
    actor = choose_manager(walk, organization)
    email = choose_address(walk)
    role = walk.choose(ROLES)
    person = walk.world.find_by_email(email)
    if actor.is_superuser and person is not None and person.is_verified:
        # They get the role at once: see `add_member`.
        raise NothingToDo
    walk.world.known |= find_numbers(email)
    send_invitation(
        walk,
        actor,
        organization,
        worlds.Invitation(email, role, actor.pk, ""),
        {"add": "1", "add-who": email, "add-role": role},
    )
    return f"{actor.username} invites {email} to {organization.pk} as {role}"


@step(3)
def resend_or_revoke(walk: Walk) -> str:
    organization = choose_organization(walk)
    if not organization.invitations:
        raise NothingToDo
    actor = choose_manager(walk, organization)
    invitation = walk.choose(organization.invitations)
    pk = Invitation.objects.get(organization=organization.pk, email=invitation.email).pk
    if walk.choose([True, False]):
        url = f"{ORGANIZATIONS}{organization.pk}/people/"
        walk.post(actor.pk, url, {"invitation": pk, "revoke": "1"})
        walk.world.revoke(organization, invitation, actor)
        return f"{actor.username} revokes {invitation.email} in {organization.pk}"
    again = worlds.Invitation(invitation.email, invitation.role, actor.pk, "")
    send_invitation(walk, actor, organization, again, {"invitation": pk, "resend": "1"})
    return f"{actor.username} invites {invitation.email} to {organization.pk} again"


def send_invitation(
    walk: Walk,
    actor: Person,
    organization: worlds.Organization,
    invitation: worlds.Invitation,
    data: dict[str, Any],
) -> None:
    """Press a button that sends an invitation, and remember its link."""
    mail.outbox.clear()
    walk.post(actor.pk, f"{ORGANIZATIONS}{organization.pk}/people/", data)
    person = walk.world.find_by_email(invitation.email)
    is_member = person is not None and person.pk in organization.roles
    if is_member and person is not None and person.is_verified and "add" in data:
        # The page says that they are a member, and sends nothing.
        return
    [message] = mail.outbox
    invitation.token = str(message.body).split(INVITATION)[1].split("/")[0]
    walk.tokens.append(invitation.token)
    for earlier in list(organization.invitations):
        if earlier.email == invitation.email:
            organization.invitations.remove(earlier)
    organization.invitations.append(invitation)
    walk.world.log(organization, None, actor, name=invitation.email)


@step(16)
def open_link(walk: Walk) -> str:
    """Open a link, which may be used, revoked or forged, and press its button."""
    world = walk.world
    recent = walk.choose([*walk.tokens[-8:], "forged"])
    token = walk.choose([recent, recent, walk.choose([*world.used, "forged"])])
    found = world.find_invitation(token)
    visitor = walk.choose([None, walk.choose(list(world.people))])
    if found is not None and walk.choose([True, False]):
        owner = world.find_by_email(found[1].email)
        visitor = owner.pk if owner is not None and owner.is_active else None
    if visitor is not None and not world.people[visitor].is_active:
        visitor = None
    name = walk.describe(visitor)
    if found is None:
        open_dead_link(walk, token, visitor)
        return f"{name} opens the link {token[:6]}, which is not valid"
    outcome = open_valid_link(walk, *found, visitor)
    return f"{name} opens the link {token[:6]} to {found[0].pk}: {outcome}"


def open_dead_link(walk: Walk, token: str, visitor: int | None) -> None:
    person, pk = walk.world.used.get(token, (0, 0))
    url = f"{INVITATION}{token}/"
    data = {"new_password1": PASSWORD, "new_password2": PASSWORD}
    for response in (
        walk.sign_in(visitor).get(url),
        walk.sign_in(visitor).post(url, data),
    ):
        location = response.headers.get("Location", "")
        if person and visitor is None:
            expected = f"{LOGIN}?next={url}"
        elif person == visitor and walk.world.may_view(
            visitor, walk.world.organizations[pk]
        ):
            expected = f"{ORGANIZATIONS}{pk}/change/"
        else:
            expected = ""
        if location != expected:
            raise Difference(f"the link leads to “{location}”, not to “{expected}”")
        if not expected and DEAD_LINK not in read(response):
            raise Difference("the page does not say that the link no longer works")
        walk.note_response(visitor, url, response)


def open_valid_link(
    walk: Walk,
    organization: worlds.Organization,
    invitation: worlds.Invitation,
    visitor: int | None,
) -> str:
    """Open a link that is valid, and press its button. Returns what happens."""
    world = walk.world
    url = f"{INVITATION}{invitation.token}/"
    account = world.find_by_email(invitation.email)
    client = Client() if visitor is None else walk.sign_in(visitor)
    first_name = walk.name()
    shown = list_shown_by_link(organization, invitation, account)
    chooses_password = visitor is None and may_choose_password(account, world)
    refusal = find_refusal(world, organization, invitation, visitor)
    walk.note_response(visitor, url, client.get(url), shown)
    data = {"new_password1": PASSWORD, "new_password2": PASSWORD}
    response = client.post(url, {**data, "first_name": first_name}, follow=True)
    if not refusal:
        if account is None:
            account = add_invited(walk, invitation.email)
        if chooses_password:
            choose_password(walk, account, first_name, client)
        accept(world, organization, invitation, account)
        visitor = account.pk
    walk.note_response(visitor, url, response, shown | find_numbers(first_name))
    return refusal or "accepted"


def find_refusal(
    world: World,
    organization: worlds.Organization,
    invitation: worlds.Invitation,
    visitor: int | None,
) -> str:
    """Return why a visitor may not accept an invitation, or "" if they may."""
    account = world.find_by_email(invitation.email)
    if account is not None and not account.is_active:
        return "the account is inactive"
    is_owner = account is not None and visitor == account.pk
    chooses_password = visitor is None and may_choose_password(account, world)
    if not is_owner and not chooses_password:
        return "another account is signed in, or none"
    if not world.may_manage(invitation.inviter, organization):
        return "the inviter lost access"
    return ""


def list_shown_by_link(
    organization: worlds.Organization,
    invitation: worlds.Invitation,
    account: Person | None,
) -> set[int]:
    """Return the numbers that the page of a valid link may show to anyone."""
    if account is not None and not account.is_active:
        return set()
    shown = find_numbers(organization.name, invitation.email)
    return shown | account.numbers if account is not None else shown


def choose_password(
    walk: Walk, person: Person, first_name: str, client: Client
) -> None:
    """Record that a link has set the password of an account, and signed it in."""
    person.first_name = first_name
    person.has_password = True
    walk.world.known |= person.numbers
    walk.clients[person.pk] = client


def may_choose_password(account: Person | None, world: World) -> bool:
    """Return whether the link may set the password of the account."""
    if account is None:
        return True
    is_used = account.has_password or account.has_signed_in or account.is_superuser
    has_access = any(
        account.pk in organization.roles
        for organization in world.organizations.values()
    )
    return not (is_used or has_access or account.is_delegate or account.is_user_manager)


def add_invited(walk: Walk, email: str) -> Person:
    """Return the person whose account an invitation has just created."""
    user = User.objects.get(email=email)
    person = Person(user.pk, user.username, email)
    walk.add_person(person)
    return person


def accept(
    world: World,
    organization: worlds.Organization,
    invitation: worlds.Invitation,
    person: Person,
) -> None:
    person.is_verified = True
    person.has_signed_in = True
    organization.invitations.remove(invitation)
    world.used[invitation.token] = (person.pk, organization.pk)
    current = organization.roles.get(person.pk)
    if current in ("admin", invitation.role):
        return
    organization.roles[person.pk] = invitation.role
    world.log(organization, person, world.people[invitation.inviter])


# Roles


@step(12)
def change_role(walk: Walk) -> str:
    """Change the role of a member, or remove them. Admins use the page as well."""
    organization = choose_organization(walk)
    if not organization.roles:
        raise NothingToDo
    actor = choose_manager(walk, organization)
    person = walk.world.people[walk.choose(list(organization.roles))]
    role = walk.choose([*ROLES, None])
    reason = walk.name("because")
    data = {
        "user": person.pk,
        "confirmed": "1",
        "reason": reason,
        "confirmed_organizations": list_confirmed(walk.world),
        **({"role": role} if role else {"remove": "1"}),
    }
    url = f"{ORGANIZATIONS}{organization.pk}/people/"
    walk.post(actor.pk, url, data, shown=find_numbers(reason))
    admins = walk.world.list_active_admins(organization)
    if role != "admin" and admins == {person.pk} and not actor.is_superuser:
        return f"{actor.username} is refused: {person.username} is the last admin"
    set_role(walk, organization, person, role, actor, reason)
    return f"{actor.username} makes {person.username} {role} of {organization.pk}"


@step(8)
def add_member(walk: Walk) -> str:
    """Give a role to someone who has an account. Only superusers can do so."""
    organization = choose_organization(walk)
    actor = choose_superuser(walk)
    person = walk.choose(list(walk.world.people.values()))
    role = walk.choose(ROLES)
    reason = walk.name("because")
    name = f"#{person.pk}"
    if person.is_verified:
        name = walk.choose([name, person.email])
    data = {
        "add": "1",
        "add-who": name,
        "add-role": role,
        "confirmed": "1",
        "reason": reason,
        "confirmed_organizations": list_confirmed(walk.world),
    }
    url = f"{ORGANIZATIONS}{organization.pk}/people/"
    walk.post(actor.pk, url, data, shown=find_numbers(reason))
    set_role(walk, organization, person, role, actor, reason)
    return f"{actor.username} adds {person.username} to {organization.pk} as {role}"


def set_role(
    walk: Walk,
    organization: worlds.Organization,
    person: Person,
    role: str | None,
    actor: Person,
    reason: str,
) -> None:
    if organization.roles.get(person.pk) == role:
        return
    if role is None:
        walk.world.end_role(organization, person, actor, reason)
        return
    replaced = organization.roles.get(person.pk)
    organization.roles[person.pk] = role
    walk.world.log(organization, person, actor, reason=reason)
    walk.world.revoke_outdated(
        organization, person, actor, role=role, replaced=replaced
    )


# People


@step(4)
def add_person(walk: Walk) -> str:
    world = walk.world
    if len(world.people) >= walk.most_people:
        raise NothingToDo
    username = walk.name()
    free = world.former_usernames - {row.username for row in world.people.values()}
    if free and walk.choose([True, False]):
        # Someone had this username before.
        username = walk.choose(sorted(free))
    person = walk.create_person(username)
    return f"a script adds {person.username} ({person.pk})"


def change_person(walk: Walk, actor: Person, person: Person, **values: Any) -> None:
    """Save the page of a person with other values."""
    url = f"{PEOPLE}{person.pk}/change/"
    data = walk.read_form(actor.pk, url)
    data["confirmed_organizations"] = list_confirmed(walk.world)
    for name, value in values.items():
        if value is False:
            data.pop(name, None)
        else:
            data[name] = "on" if value is True else value
    walk.post(actor.pk, url, data)


@step(8)
def rename_person(walk: Walk) -> str:
    actor = choose_superuser(walk)
    person = choose_other(walk, actor)
    field = walk.choose(["username", "email", "first_name"])
    before = person.username
    value = f"{walk.name()}@example.com" if field == "email" else walk.name()
    change_person(walk, actor, person, **{field: value})
    if field == "email":
        person.is_verified = False
        walk.signed_out.add(person.pk)
        # A username that was made from the address follows it.
        if person.username == person.email:
            person.username = value
    setattr(person, field, value)
    if person.username != before:
        walk.world.former_usernames.add(before)
    walk.world.known |= person.numbers
    return f"{actor.username} sets the {field} of {before} to {value}"


@step(7)
def switch_active(walk: Walk) -> str:
    """Deactivate a person, or activate them again."""
    actor = choose_superuser(walk)
    person = choose_other(walk, actor)
    change_person(walk, actor, person, is_active=not person.is_active)
    person.is_active = not person.is_active
    walk.signed_out.add(person.pk)
    if not person.is_active:
        walk.world.revoke_sent(person, actor)
        return f"{actor.username} deactivates {person.username}"
    walk.expect_signed_out(person.pk)
    return f"{actor.username} activates {person.username}"


@step(3)
def switch_superuser(walk: Walk) -> str:
    actor = choose_superuser(walk)
    person = choose_other(walk, actor)
    change_person(walk, actor, person, is_superuser=not person.is_superuser)
    person.is_superuser = not person.is_superuser
    kind = "a superuser" if person.is_superuser else "an ordinary person"
    return f"{actor.username} makes {person.username} {kind}"


@step(4)
def offboard(walk: Walk) -> str:
    actor = choose_superuser(walk)
    person = choose_other(walk, actor)
    reason = walk.name("because")
    data = {
        "confirmed": "1",
        "reason": reason,
        "confirmed_organizations": list_confirmed(walk.world),
    }
    walk.post(actor.pk, f"{PEOPLE}{person.pk}/leave/", data)
    for organization in walk.world.organizations.values():
        walk.world.end_role(organization, person, actor, reason)
    walk.world.revoke_sent(person, actor)
    walk.world.known |= find_numbers(reason)
    person.is_active = False
    person.is_superuser = False
    person.is_delegate = False
    person.is_user_manager = False
    person.has_password = False
    walk.signed_out.add(person.pk)
    return f"{actor.username} offboards {person.username}"


@step(3)
def delete_person(walk: Walk) -> str:
    actor = choose_superuser(walk)
    person = choose_other(walk, actor)
    data = {"post": "yes", "confirmed_organizations": list_confirmed(walk.world)}
    walk.post(actor.pk, f"{PEOPLE}{person.pk}/delete/", data)
    world = walk.world
    for organization in world.organizations.values():
        world.end_role(organization, person, actor, "")
    world.revoke_sent(person, actor)
    world.former_usernames.add(person.username)
    world.forget_links(person=person.pk)
    del world.people[person.pk]
    return f"{actor.username} deletes {person.username} ({person.pk})"
