"""Walks at random, and finds the shortest way to a failure."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.contrib.auth.models import Permission
from django.test import Client

from orgadmin.models import User
from tests.factories import create_superuser, create_user
from tests.random_walk import looking, moves  # noqa: F401 (the steps register)
from tests.random_walk.looking import Difference, read
from tests.random_walk.steps import STEPS, NothingToDo, Step
from tests.random_walk.world import Person, World, find_numbers

Choice = TypeVar("Choice")

# How many pages a random reader opens after each step.
PAGES_AFTER_STEP = 3

# How many pages a random member of an organization opens of it.
PAGES_OF_MEMBER = 2


@dataclass(frozen=True)
class PlannedStep:
    """A step, and the seed of the choices that it makes.

    Each step has a seed of its own, so a walk can leave out others.
    """

    step: Step
    seed: int


@dataclass(frozen=True)
class Response:
    reader: int | None
    what: str
    text: str
    allowed: frozenset[int]


@dataclass
class Walk:
    """A walk through a database that is empty at the beginning."""

    world: World = field(default_factory=World)
    random: random.Random = field(default_factory=random.Random)
    clients: dict[int, Client] = field(default_factory=dict)
    # Cookies from before the database was replaced.
    former_clients: list[Client] = field(default_factory=list)
    signed_out: set[int] = field(default_factory=set)
    tokens: list[str] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    backup: moves.Backup | None = None
    root: int = 0
    done: list[str] = field(default_factory=list)
    pages_opened: int = 0
    most_organizations: int = 5
    most_people: int = 11
    missing_pk: int = 1_000_000

    def __post_init__(self) -> None:
        self.numbers = itertools.count(1)

    # Choosing and naming

    def choose(self, choices: Sequence[Choice]) -> Choice:
        return self.random.choice(choices)

    def name(self, prefix: str = "") -> str:
        """Return a text that nothing had before."""
        return f"{prefix} canary{next(self.numbers)}x".strip()

    def describe(self, pk: int | None) -> str:
        if pk is None:
            return "a visitor"
        person = self.world.people.get(pk)
        return person.username if person else f"the deleted person {pk}"

    # People and their browsers

    def begin(self) -> None:
        """Add the first people. Their roles in organizations come with time."""
        root = create_superuser(self.name(), email=f"{self.name()}@example.com")
        self.root = root.pk
        self.add_person(Person(root.pk, root.username, root.email, is_superuser=True))
        delegate = self.create_person(self.name())
        delegate.is_delegate = True
        self.make_staff(delegate, ["view_organization"])
        manager = self.create_person(self.name())
        manager.is_user_manager = True
        self.make_staff(manager, ["view_user", "change_user"])
        for _number in range(4):
            self.create_person(self.name())

    def create_person(self, username: str) -> Person:
        user = create_user(username, email=f"{self.name()}@example.com")
        person = Person(user.pk, username, user.email)
        self.add_person(person)
        return person

    def make_staff(self, person: Person, codenames: list[str]) -> None:
        user = User.objects.get(pk=person.pk)
        user.is_staff = True
        user.save()
        permissions = Permission.objects.filter(codename__in=codenames)
        user.user_permissions.set(permissions)

    def add_person(self, person: Person) -> None:
        if person.pk in self.world.person_pks:
            raise Difference(f"the ID {person.pk} of a person was issued again")
        self.world.people[person.pk] = person
        self.world.person_pks.add(person.pk)
        self.world.known |= person.numbers

    def sign_in(self, pk: int | None) -> Client:
        """Return the browser of a person, signed in if the account is active.

        People whose account is inactive or was deleted still have their cookies.
        """
        if pk is None:
            return self.choose([Client(), *self.former_clients])
        client = self.clients.setdefault(pk, Client())
        person = self.world.people.get(pk)
        if person is None or not person.is_active:
            return client
        if pk in self.signed_out or "_auth_user_id" not in client.session:
            client = self.clients[pk] = Client()
            client.force_login(User.objects.get(pk=pk))
            person.has_signed_in = True
            self.signed_out.discard(pk)
        return client

    def expect_signed_out(self, pk: int) -> None:
        """Check that the cookies from before an account was deactivated are void."""
        client = self.clients.get(pk)
        if client is not None and client.get("/admin/").status_code != 302:
            raise Difference(f"{self.describe(pk)} is still signed in")

    def forget_sessions(self) -> None:
        """Remember the old cookies, and sign in everyone again."""
        self.former_clients = list(self.clients.values())[:5]
        self.clients = {}
        self.signed_out = set()

    # Requests

    def post(
        self,
        pk: int,
        url: str,
        data: dict[str, Any],
        *,
        shown: Set[int] = frozenset(),
    ) -> None:
        before = self.world.find_visible(pk) | find_numbers(str(data)) | shown
        response = self.sign_in(pk).post(url, data, follow=True)
        self.note_response(pk, url, response, before)

    def note_response(
        self,
        pk: int | None,
        url: str,
        response: Any,
        allowed: Set[int] = frozenset(),
    ) -> None:
        """Remember what a step showed. It may be what the person saw before it."""
        what = f"{url} as {self.describe(pk)}"
        self.responses.append(Response(pk, what, read(response), frozenset(allowed)))

    def read_form(self, pk: int, url: str) -> dict[str, Any]:
        """Return the fields that a browser would send back."""
        response = self.sign_in(pk).get(url)
        data: dict[str, Any] = {}
        for bound in response.context["adminform"].form:
            value = bound.value()
            if isinstance(value, list):
                data[bound.html_name] = [getattr(item, "pk", item) for item in value]
            elif value not in (None, False):
                data[bound.html_name] = value
        return data

    # Walking

    def take(self, planned: PlannedStep) -> None:
        self.random = random.Random(planned.seed)
        self.responses = []
        try:
            self.done.append(planned.step(self))
        except NothingToDo:
            return
        for response in self.responses:
            allowed = self.world.find_visible(response.reader) | response.allowed
            looking.compare_shown(response.text, allowed, response.what)
        looking.compare_database(self)
        reader = self.choose(list(looking.choose_readers(self)))
        pages = looking.list_pages(self)
        self.look_at(reader, self.random.sample(pages, PAGES_AFTER_STEP))
        self.let_a_member_look()

    def let_a_member_look(self) -> None:
        """Look at the organization, which shows most of the texts, as a member."""
        organizations = self.world.organizations.values()
        with_members = [row for row in organizations if row.roles]
        if not with_members:
            return
        organization = self.choose(with_members)
        reader = self.choose(list(organization.roles))
        pages = looking.list_pages_of([organization.pk])
        self.look_at(reader, self.random.sample(pages, PAGES_OF_MEMBER))

    def look_at(self, reader: int | None, pages: Sequence[str]) -> None:
        for url in pages:
            self.pages_opened += 1
            looking.look(self, reader, url)

    def finish(self, share: float) -> None:
        """Look at this share of all pages as each person, and run the doctor."""
        pages = looking.list_pages(self)
        number = max(1, int(len(pages) * share))
        for reader in looking.choose_readers(self):
            self.look_at(reader, self.random.sample(pages, number))
        looking.compare_with_doctor()


@dataclass(frozen=True)
class Outcome:
    walk: Walk
    steps: list[PlannedStep]  # those until the failure
    error: Exception | None


def plan(seed: int, length: int) -> list[PlannedStep]:
    chooser = random.Random(seed)
    steps = chooser.choices(list(STEPS), list(STEPS.values()), k=length)
    return [PlannedStep(step, chooser.randrange(2**32)) for step in steps]


def run(steps: Sequence[PlannedStep], share: float) -> Outcome:
    """Walk through an emptied database. Returns where it failed, if it did."""
    moves.empty()
    walk = Walk()
    walk.begin()
    taken = []
    try:
        for planned in steps:
            taken.append(planned)
            walk.take(planned)
        walk.finish(share)
    except Exception as error:
        return Outcome(walk, taken, error)
    return Outcome(walk, taken, None)


def shorten(failed: Outcome, share: float, attempts: int = 40) -> Outcome:
    """Leave out steps as long as the walk still fails. Returns the shortest walk."""
    size = max(1, len(failed.steps) // 2)
    for shorter in leave_out(failed.steps, size):
        if attempts == 0:
            break
        attempts -= 1
        outcome = run(shorter, share)
        if outcome.error is not None:
            return shorten(outcome, share, attempts)
    return failed


def leave_out(steps: Sequence[PlannedStep], size: int) -> Iterator[list[PlannedStep]]:
    """Yield the steps without some that follow each other, first without many."""
    while size:
        for start in range(0, len(steps), size):
            yield [*steps[:start], *steps[start + size :]]
        size //= 2
