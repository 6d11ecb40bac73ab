"""What the walk knows: people, organizations, and who may see which text.

Nothing here asks the database or the access rule. Each text that names someone or
something contains a number that no other text has, such as "canary17x". A person may
see a set of these numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

CANARY = re.compile(r"canary(\d+)x", re.IGNORECASE)


def find_numbers(*texts: str) -> set[int]:
    """Return the numbers of the canaries in texts."""
    return {int(number) for text in texts for number in CANARY.findall(text)}


@dataclass
class Person:
    pk: int
    username: str
    email: str
    first_name: str = ""
    is_active: bool = True
    is_superuser: bool = False
    is_delegate: bool = False  # may view all organizations
    is_user_manager: bool = False  # may view all people
    is_verified: bool = False
    has_password: bool = True
    has_signed_in: bool = False

    @property
    def numbers(self) -> set[int]:
        return find_numbers(self.username, self.email, self.first_name)


@dataclass
class Invitation:
    email: str
    role: str
    inviter: int
    token: str


@dataclass
class Logged:
    """What an entry of the membership log says, with the names of that time."""

    user: int | None
    user_name: str
    actor: int
    actor_name: str
    reason: str = ""


@dataclass
class Organization:
    pk: int
    name: str
    address: str
    tax_id: str
    contacts: dict[int, str] = field(default_factory=dict)
    roles: dict[int, str] = field(default_factory=dict)  # {person: role}
    invitations: list[Invitation] = field(default_factory=list)
    log: list[Logged] = field(default_factory=list)
    # The numbers of all texts that it ever had: the history shows them.
    public: set[int] = field(default_factory=set)
    confidential: set[int] = field(default_factory=set)


@dataclass
class World:
    people: dict[int, Person] = field(default_factory=dict)
    organizations: dict[int, Organization] = field(default_factory=dict)
    # {token of a link: (who accepted the invitation, to which organization)}
    used: dict[str, tuple[int, int]] = field(default_factory=dict)
    # What exists or existed. A restored backup knows less.
    known: set[int] = field(default_factory=set)
    person_pks: set[int] = field(default_factory=set)
    organization_pks: set[int] = field(default_factory=set)
    contact_pks: set[int] = field(default_factory=set)
    former_usernames: set[str] = field(default_factory=set)

    # Who may do what

    def may_view(self, pk: int | None, organization: Organization) -> bool:
        person = self.people.get(pk or 0)
        if person is None or not person.is_active:
            return False
        is_everywhere = person.is_superuser or person.is_delegate
        return is_everywhere or person.pk in organization.roles

    def may_manage(self, pk: int | None, organization: Organization) -> bool:
        person = self.people.get(pk or 0)
        if person is None or not person.is_active:
            return False
        return person.is_superuser or organization.roles.get(person.pk) == "admin"

    def find_by_email(self, email: str) -> Person | None:
        for person in self.people.values():
            if person.email == email:
                return person
        return None

    def find_invitation(self, token: str) -> tuple[Organization, Invitation] | None:
        for organization in self.organizations.values():
            for invitation in organization.invitations:
                if invitation.token == token:
                    return organization, invitation
        return None

    def list_active_admins(self, organization: Organization) -> set[int]:
        return {
            pk
            for pk, role in organization.roles.items()
            if role == "admin" and self.people[pk].is_active
        }

    # Who may see what

    def find_visible(self, pk: int | None) -> set[int]:
        """Return the numbers of all texts that a person may see."""
        person = self.people.get(pk or 0)
        if person is None or not person.is_active:
            return set()
        if person.is_superuser:
            return self.known
        visible = set(person.numbers)
        if person.is_user_manager:
            for other in self.people.values():
                visible |= other.numbers
        for organization in self.organizations.values():
            if self.may_view(pk, organization):
                visible |= organization.public
            if self.may_manage(pk, organization):
                visible |= organization.confidential
                visible |= self.find_people_of(organization)
        return visible

    def find_people_of(self, organization: Organization) -> set[int]:
        """Return the numbers of the people that an organization's admins can see."""
        numbers = set()
        for pk in organization.roles:
            numbers |= self.people[pk].numbers
        for invitation in organization.invitations:
            numbers |= find_numbers(invitation.email)
        members = {entry.user for entry in organization.log}
        for entry in organization.log:
            numbers |= find_numbers(entry.user_name, entry.reason)
            if entry.actor in members:
                numbers |= find_numbers(entry.actor_name)
        return numbers

    # What happens

    def remember(self, organization: Organization) -> None:
        """Add the present texts of an organization to those that it ever had."""
        texts = [organization.name, organization.address]
        organization.public |= find_numbers(*texts, *organization.contacts.values())
        organization.confidential |= find_numbers(organization.tax_id)
        self.known |= organization.public | organization.confidential

    def log(
        self,
        organization: Organization,
        person: Person | None,
        actor: Person,
        *,
        name: str = "",
        reason: str = "",
    ) -> None:
        entry = Logged(
            user=person.pk if person else None,
            user_name=person.username if person else name,
            actor=actor.pk,
            actor_name=actor.username,
            reason=reason,
        )
        organization.log.append(entry)
        self.known |= find_numbers(entry.user_name, reason)

    def end_role(
        self, organization: Organization, person: Person, actor: Person, reason: str
    ) -> None:
        if organization.roles.pop(person.pk, None):
            self.log(organization, person, actor, reason=reason)
            self.revoke_outdated(organization, person, actor)

    def revoke_outdated(
        self,
        organization: Organization,
        person: Person,
        actor: Person,
        *,
        role: str | None = None,
        replaced: str | None = None,
    ) -> None:
        """Revoke the person's invitations that a change of their role outdates.

        `role` is the new role, and `replaced` the earlier one. Without a role, or with
        fewer permissions than before, no invitation may give something back. Otherwise,
        invitations that offer no more than the new role are useless.
        """
        has_lost = role is None or (replaced == "admin" and role != "admin")
        for invitation in list(organization.invitations):
            if invitation.email != person.email:
                continue
            if has_lost or role in ("admin", invitation.role):
                reason = "The role of the person has changed."
                self.revoke(organization, invitation, actor, reason=reason)

    def revoke_sent(self, person: Person, actor: Person) -> None:
        """Revoke the invitations that a person sent."""
        for organization in self.organizations.values():
            for invitation in list(organization.invitations):
                if invitation.inviter == person.pk:
                    self.revoke(organization, invitation, actor)

    def revoke(
        self,
        organization: Organization,
        invitation: Invitation,
        actor: Person,
        *,
        reason: str = "",
    ) -> None:
        organization.invitations.remove(invitation)
        self.log(organization, None, actor, name=invitation.email, reason=reason)

    def forget_links(self, *, person: int = 0, organization: int = 0) -> None:
        """Record that the used links of deleted objects no longer work."""
        self.used = {
            token: owner
            for token, owner in self.used.items()
            if owner[0] != person and owner[1] != organization
        }
