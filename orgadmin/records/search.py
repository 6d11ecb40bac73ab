"""The search on every page: organizations, contacts and people, the best ones first.

Names that start with the text come first, then names that contain it, then rows of
which another field does. On PostgreSQL, similar names are found if nothing else
is, so that a typing error does not matter. Confidential fields are never searched.

A search of everything runs a few queries, one for each of these kinds of match. Each
returns a few rows, in the order of an index or from a trigram index, and runs only if
those before it have not found enough. For people who may view a few organizations, one
query looks for all kinds. tests/test_plans.py pins their plans.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections, models
from django.db.models import Case, Q, QuerySet, When
from django.db.models.expressions import RawSQL
from django.db.models.functions import Left
from django.utils.text import smart_split, unescape_string_literal

from orgadmin.models import Contact, Organization, User
from orgadmin.models.fields import normalize
from orgadmin.records.marking import Part, mark

# How many rows of each model a search finds.
FOUND = 6

# Trigram indexes, as their name says, know no shorter parts of words.
SHORTEST_PART = 3  # characters

# How many words of a text are searched for. Each adds a condition to the queries.
MAX_WORDS = 10

# Similar names are the best of so many candidates, in no order. First of all, these
# are names that start with the same letters.
CANDIDATES = 100
SAME_START = 4  # characters
# How many of the candidates are read. Archived organizations may be among them.
BEST_CANDIDATES = 5 * FOUND
SIMILAR = 0.6
TRIGRAM_INDEX = "organization_name_trigram"

# PostgreSQL underestimates what it costs to compare names one by one. So nothing but
# bitmaps of the trigram index may be used to find similar ones.
OTHER_SCANS = """
    SELECT
        set_config('enable_seqscan', '{state}', true),
        set_config('enable_indexscan', '{state}', true),
        set_config('enable_indexonlyscan', '{state}', true)
"""

SELECT_CANDIDATES = """
    SELECT id
    FROM (
        SELECT id, sort_name
        FROM "{table}"
        WHERE %s <%% sort_name
        LIMIT %s
    ) AS candidate
    ORDER BY word_similarity(%s, sort_name) DESC, sort_name, id
    LIMIT %s
"""

# Follows all characters that names have.
LAST_CHARACTER = "\U0010ffff"

# How much of a long text is read. Today's forms accept no longer ones.
READ = 1_000  # characters

# The databases that were found to have trigram indexes.
_with_trigrams: set[str] = set()


@dataclass(frozen=True)
class SearchText:
    """What someone searches for."""

    typed: str
    words: list[str]  # normalized

    @classmethod
    def parse(cls, typed: str) -> SearchText:
        words = []
        for word in smart_split(typed):
            if word.startswith(('"', "'")) and word[0] == word[-1] and len(word) > 1:
                word = unescape_string_literal(word)
            normal = normalize(word).strip()
            # Without quotation marks around it, every name would start with nothing.
            if normal.strip("\"'"):
                words.append(normal)
        return cls(typed.strip(), words[:MAX_WORDS])

    @property
    def start(self) -> str:
        """What a name starts with, in its normalized form."""
        return " ".join(normalize(self.typed.strip("\"'")).split())

    @property
    def is_short(self) -> bool:
        """Whether only names that start with the text are searched."""
        return all(len(word) < SHORTEST_PART for word in self.words)


@dataclass(frozen=True)
class FoundField:
    """A field of a row that was found, and whether it is a reason why."""

    label: Any
    parts: list[Part]

    @property
    def is_match(self) -> bool:
        return any(part.is_match for part in self.parts)


@dataclass(frozen=True)
class Hit:
    """A row that was found: its title, and other fields that help to recognize it."""

    row: models.Model
    title: FoundField
    fields: list[FoundField]

    @property
    def is_similar(self) -> bool:
        """Whether nothing of it contains the text: it was found by a similar name."""
        return not any(field.is_match for field in [self.title, *self.fields])


class Collector:
    """Collects the first rows of querysets, and runs only as many as it needs.

    `everywhere` says that the reader may view all rows.
    """

    def __init__(self, *, everywhere: bool) -> None:
        self.everywhere = everywhere
        self.rows: list[Any] = []

    def add_matches(self, rows: QuerySet, conditions: Sequence[Q]) -> None:
        """Add the rows that fulfil a condition, those of the first one first.

        The indexes know the rows of everyone. For a reader who may view a few, all
        conditions are checked on these in one query.
        """
        if not self.everywhere:
            self.add(rank_rows(rows, conditions))
            return
        for condition in conditions:
            self.add_first(rows, condition)

    def add_first(self, rows: QuerySet, condition: Q) -> None:
        """Add the first rows that fulfil a condition.

        The first query reads nothing but keys. So an index alone answers it, however
        many rows it has to pass until it has found enough. Most searches find nothing
        by most conditions, and then need no second query.
        """
        if self.missing > 0:
            matches = self.exclude_known(rows.filter(condition))
            pks = list(matches.values_list("pk", flat=True)[: self.missing])
            if pks:
                self.rows += rows.filter(pk__in=pks)

    def add(self, rows: QuerySet) -> None:
        if self.missing > 0:
            self.rows += self.exclude_known(rows)[: self.missing]

    @property
    def missing(self) -> int:
        """How many more rows are wanted."""
        return FOUND - len(self.rows)

    def exclude_known(self, rows: QuerySet) -> QuerySet:
        known = [row.pk for row in self.rows]
        return rows.exclude(pk__in=known) if known else rows


def find_organizations(
    rows: QuerySet[Organization], text: SearchText, *, everywhere: bool
) -> list[Hit]:
    """Return the best matches among `rows`, organizations that the reader may view.

    `everywhere` says that the reader may view all organizations. The same goes for the
    other functions.
    """
    found = Collector(everywhere=everywhere)
    rows = rows.order_by("sort_name", "pk").only("name", "reference")
    rows = rows.annotate(address_start=Left("address", READ))
    conditions = [Q(reference=text.typed), starts_with("sort_name", text.start)]
    if not text.is_short:
        conditions += [
            contains_all(["sort_name"], text.words, "contains"),
            contains_all(["search_text"], text.words, "contains"),
        ]
    found.add_matches(rows, conditions)
    if not text.is_short:
        add_similar(found, rows, text)
    return [describe_organization(row, text.words) for row in found.rows]


def find_contacts(
    rows: QuerySet[Contact], text: SearchText, *, everywhere: bool
) -> list[Hit]:
    """Return the best matches among contacts, those of the first condition first.

    `rows` are the contacts that the reader may view. `everywhere` says that these are
    all contacts.
    """
    found = Collector(everywhere=everywhere)
    rows = rows.order_by("sort_name", "pk").select_related("organization")
    rows = rows.only("name", "role", "email", "organization__name")
    conditions = [starts_with("sort_name", text.start)]
    if not text.is_short:
        typed = text.typed.split()[:MAX_WORDS]
        conditions += [
            contains_all(["sort_name"], text.words, "contains"),
            contains_all(["role", "email"], typed, "icontains"),
            # The index has only organizations that are not archived.
            starts_with("organization__sort_name", text.start)
            & Q(organization__archived_at=None),
        ]
    found.add_matches(rows, conditions)
    if not text.is_short:
        add_similar(found, rows, text)
    return [describe_contact(row, text.words) for row in found.rows]


def find_people(
    rows: QuerySet[User], text: SearchText, *, everywhere: bool
) -> list[Hit]:
    """Return the best matches among `rows`, people whom the reader may see."""
    found = Collector(everywhere=everywhere)
    fields = ["username", "first_name", "last_name", "email"]
    starts = Q()
    for name in fields:
        starts |= Q(**{f"{name}__istartswith": text.typed})
    rows = rows.order_by("username")
    found.add(rows.filter(starts))
    if not text.is_short:
        typed = text.typed.split()[:MAX_WORDS]
        found.add(rows.filter(contains_all(fields, typed, "icontains")))
    return [describe_person(row, text.words) for row in found.rows]


def starts_with(name: str, start: str) -> Q:
    """Return the condition that a column starts with a text, as a range of its index.

    The column is sorted by code points.
    """
    return Q(**{f"{name}__gte": start, f"{name}__lt": f"{start}{LAST_CHARACTER}"})


def rank_rows(rows: QuerySet, conditions: Iterable[Q]) -> QuerySet:
    """Return the rows that fulfil a condition, in the order of the conditions."""
    ranks = [
        When(condition, then=number) for number, condition in enumerate(conditions)
    ]
    ranked = rows.alias(rank=Case(*ranks)).filter(rank__isnull=False)
    return ranked.order_by("rank", *rows.query.order_by)


def add_similar(found: Collector, rows: QuerySet, text: SearchText) -> None:
    """Add rows of which a part of the name is similar, if nothing else was found.

    Only PostgreSQL can find them, if it has the extension pg_trgm and the index. An
    index that knows the names of all organizations is no use for a reader who may view
    a few, so the names of these are compared one by one.

    The trigram index first collects all rows with some of the same trigrams, which can
    be many. Few people mistype the first letters, so names that start with these are
    compared before that.
    """
    if found.rows or not has_trigrams(rows.db):
        return
    table = rows.model._meta.db_table
    similarity = RawSQL(f'word_similarity(%s, "{table}"."sort_name")', [text.start])
    rows = rows.alias(similarity=similarity).order_by("-similarity", "sort_name", "pk")
    if not found.everywhere:
        found.add(rows.filter(similarity__gte=SIMILAR))
        return
    pks = list_same_start(rows, text.start)
    if pks:
        found.add(rows.filter(pk__in=pks, similarity__gte=SIMILAR))
    if not found.rows:
        pks = find_candidates(table, text.start, using=rows.db)
        found.add(rows.filter(pk__in=pks))


def list_same_start(rows: QuerySet, text: str) -> list[int]:
    """Return the keys of the first rows whose name starts as a text does."""
    start = text[:SAME_START]
    same = rows.filter(starts_with("sort_name", start)).order_by("sort_name", "pk")
    return list(same.values_list("pk", flat=True)[:CANDIDATES])


def find_candidates(table: str, text: str, *, using: str) -> list[int]:
    """Return the keys of rows that the trigram index finds by a part of their name.

    The most similar ones come first.

    Sends all statements together, which makes them one round trip and one transaction.
    If there already is a transaction, such as in tests, the settings are reset for it.
    """
    statements = [
        OTHER_SCANS.format(state="off"),
        SELECT_CANDIDATES.format(table=table),
        OTHER_SCANS.format(state="on"),
    ]
    parameters: list[str | int] = [text, CANDIDATES, text, BEST_CANDIDATES]
    with connections[using].cursor() as cursor:
        cursor.execute("; ".join(statements), parameters)
        cursor.nextset()
        return [pk for (pk,) in cursor.fetchall()]


def has_trigrams(using: str) -> bool:
    """Return whether the database can compare names. Asks until it can."""
    if using not in _with_trigrams and connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [TRIGRAM_INDEX])
            if cursor.fetchone()[0]:
                _with_trigrams.add(using)
    return using in _with_trigrams


def contains_all(fields: Collection[str], words: Iterable[str], lookup: str) -> Q:
    """Return the condition that each word is in at least one of the fields."""
    condition = Q()
    for word in words:
        in_any = Q()
        for name in fields:
            in_any |= Q(**{f"{name}__{lookup}": word})
        condition &= in_any
    return condition


def describe_organization(row: Any, words: Collection[str]) -> Hit:
    """Return a hit for an organization. Its address is shown only if it matches."""
    fields = [make_field(row, "reference", words)]
    address = FoundField(get_label(row, "address"), mark(row.address_start, words))
    if address.is_match:
        fields.append(address)
    return Hit(row, make_field(row, "name", words), remove_empty(fields))


def describe_contact(row: Contact, words: Collection[str]) -> Hit:
    organization = FoundField(
        get_label(row, "organization"), mark(row.organization.name, words)
    )
    fields = [
        organization,
        make_field(row, "role", words),
        make_field(row, "email", words),
    ]
    return Hit(row, make_field(row, "name", words), remove_empty(fields))


def describe_person(row: User, words: Collection[str]) -> Hit:
    fields = [
        make_field(row, "first_name", words),
        make_field(row, "last_name", words),
        make_field(row, "email", words),
    ]
    return Hit(row, make_field(row, "username", words), remove_empty(fields))


def make_field(row: models.Model, name: str, words: Collection[str]) -> FoundField:
    return FoundField(get_label(row, name), mark(getattr(row, name) or "", words))


def get_label(row: models.Model, name: str) -> Any:
    return row._meta.get_field(name).verbose_name  # type: ignore[union-attr]


def remove_empty(fields: Iterable[FoundField]) -> list[FoundField]:
    return [field for field in fields if field.parts]
