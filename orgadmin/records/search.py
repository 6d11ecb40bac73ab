"""The search on every page, for organizations, contacts and people.

Names that start with the text come first, followed by names that contain the text, and
rows in which another field contains it. If nothing is found, the search on PostgreSQL
returns organizations and contacts with similar names, so that it works despite typing
errors. Confidential fields are never searched.

For people who can view all rows, there is a query for each kind of match. Each query
returns a few rows, and uses an index. It runs only if the previous queries have not
found enough rows. For people who can view only some organizations, one query finds all
kinds of matches. tests/test_plans.py checks the query plans.
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
from orgadmin.records.marking import Part, mark_matches

# The maximum number of rows of each model that a search finds
MAX_HITS = 6

# Trigram indexes cannot find shorter parts of words.
SHORTEST_PART = 3  # characters

# The maximum number of words. Each word adds a condition to the queries.
MAX_WORDS = 10

# The search for similar names compares the text with this many candidates. It first
# tries names with the same first letters, and then names from the trigram index, in any
# order.
MAX_CANDIDATES = 100
SAME_START = 4  # characters
# The number of the most similar candidates that are read. There are more of them than
# hits, because archived organizations are left out later.
MAX_BEST_CANDIDATES = 5 * MAX_HITS
MIN_SIMILARITY = 0.6  # from 0 to 1
TRIGRAM_INDEX = "organization_name_trigram"

# Turns all kinds of scans on or off, except bitmap scans of the trigram index.
# PostgreSQL underestimates the cost of comparing names one by one, so it could choose
# another scan to find similar names.
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

# The last Unicode character, which sorts after all characters in names
LAST_CHARACTER = "\U0010ffff"

# The part of an address that is read. The form does not accept longer addresses.
MAX_ADDRESS_READ = 1_000  # characters

# The databases that are known to have trigram indexes
_with_trigrams: set[str] = set()


@dataclass(frozen=True)
class SearchText:
    """What someone searches for."""

    typed: str
    words: list[str]  # normalized

    @classmethod
    def parse(cls, typed: str) -> SearchText:
        """Split a text into words. Words in quotation marks stay together."""
        words = []
        for word in smart_split(typed):
            if word.startswith(('"', "'")) and word[0] == word[-1] and len(word) > 1:
                word = unescape_string_literal(word)
            normal = normalize(word).strip()
            # Ignore words that only consist of quotation marks. Without these, the word
            # would be empty, and match every name.
            if normal.strip("\"'"):
                words.append(normal)
        return cls(typed.strip(), words[:MAX_WORDS])

    @property
    def start(self) -> str:
        """The normalized text, to find names that start with it."""
        return " ".join(normalize(self.typed.strip("\"'")).split())

    @property
    def is_short(self) -> bool:
        """Whether the text is too short to search for it within names."""
        return all(len(word) < SHORTEST_PART for word in self.words)


@dataclass(frozen=True)
class FoundField:
    """A field of a row that was found. It is a match if it contains a search word."""

    label: Any
    parts: list[Part]

    @property
    def is_match(self) -> bool:
        return any(part.is_match for part in self.parts)


@dataclass(frozen=True)
class Hit:
    """A row that was found, with a title, and with fields that help to recognize it."""

    row: models.Model
    title: FoundField
    fields: list[FoundField]

    @property
    def is_similar(self) -> bool:
        """Whether the row was found by a similar name: no field contains the text."""
        return not any(field.is_match for field in [self.title, *self.fields])


class Collector:
    """Collects the first rows of several querysets, until there are enough.

    `everywhere` is True if the reader can view all rows.
    """

    def __init__(self, *, everywhere: bool) -> None:
        self.everywhere = everywhere
        self.rows: list[Any] = []

    def add_matches(self, rows: QuerySet, conditions: Sequence[Q]) -> None:
        """Add the rows that meet a condition, in the order of the conditions.

        If the reader can view all rows, each condition can use an index. Otherwise, one
        query checks all conditions on the rows that the reader can view, because the
        indexes contain the rows of everyone.
        """
        if not self.everywhere:
            self.add(rank_rows(rows, conditions))
            return
        for condition in conditions:
            self.add_first(rows, condition)

    def add_first(self, rows: QuerySet, condition: Q) -> None:
        """Add the first rows that meet a condition.

        The first query only reads keys, so it only needs an index, even if the index
        has many rows that do not match. The second query reads the rows. Most searches
        do not need it, because they do not find anything by most conditions.
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
        """The number of rows that can still be added."""
        return MAX_HITS - len(self.rows)

    def exclude_known(self, rows: QuerySet) -> QuerySet:
        known = [row.pk for row in self.rows]
        return rows.exclude(pk__in=known) if known else rows


def find_organizations(
    rows: QuerySet[Organization], text: SearchText, *, everywhere: bool
) -> list[Hit]:
    """Return the best matches among organizations.

    `rows` are the organizations that the reader can view. `everywhere` is True if these
    are all organizations.
    """
    found = Collector(everywhere=everywhere)
    rows = rows.order_by("sort_name", "pk").only("name", "reference")
    rows = rows.annotate(address_start=Left("address", MAX_ADDRESS_READ))
    conditions = [Q(reference=text.typed), starts_with("sort_name", text.start)]
    if not text.is_short:
        conditions += [
            contains_all(["sort_name"], text.words, "contains"),
            contains_all(["search_text"], text.words, "contains"),
        ]
    found.add_matches(rows, conditions)
    if not text.is_short:
        add_similar(found, rows, text)
    return [make_organization_hit(row, text.words) for row in found.rows]


def find_contacts(
    rows: QuerySet[Contact], text: SearchText, *, everywhere: bool
) -> list[Hit]:
    """Return the best matches among contacts.

    `rows` are the contacts that the reader can view. `everywhere` is True if these are
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
            # The index does not contain archived organizations.
            starts_with("organization__sort_name", text.start)
            & Q(organization__archived_at=None),
        ]
    found.add_matches(rows, conditions)
    if not text.is_short:
        add_similar(found, rows, text)
    return [make_contact_hit(row, text.words) for row in found.rows]


def find_people(
    rows: QuerySet[User], text: SearchText, *, everywhere: bool
) -> list[Hit]:
    """Return the best matches among people.

    `rows` are the people that the reader can see. `everywhere` has no effect here,
    because people who can search people can see all of them.
    """
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
    return [make_person_hit(row, text.words) for row in found.rows]


def starts_with(name: str, start: str) -> Q:
    """Return the condition that a column starts with a text.

    The condition is a range, for which a database can use the index of the column. The
    column must be sorted by code points.
    """
    return Q(**{f"{name}__gte": start, f"{name}__lt": f"{start}{LAST_CHARACTER}"})


def rank_rows(rows: QuerySet, conditions: Iterable[Q]) -> QuerySet:
    """Return the rows that meet a condition, in the order of the conditions."""
    ranks = [
        When(condition, then=number) for number, condition in enumerate(conditions)
    ]
    ranked = rows.alias(rank=Case(*ranks)).filter(rank__isnull=False)
    return ranked.order_by("rank", *rows.query.order_by)


def add_similar(found: Collector, rows: QuerySet, text: SearchText) -> None:
    """Add rows with a similar name, if nothing else was found.

    This only works on PostgreSQL with the extension pg_trgm and the trigram index. If
    the reader can view only some rows, the index is not used, because it contains the
    names in all rows. Instead, the names in the rows that the reader can view are
    compared one by one.

    The trigram index first finds all rows with some of the same trigrams, which can be
    many rows. Because people rarely mistype the first letters, names with the same
    first letters are compared before the index is used.
    """
    if found.rows or not has_trigrams(rows.db):
        return
    table = rows.model._meta.db_table
    similarity = RawSQL(f'word_similarity(%s, "{table}"."sort_name")', [text.start])
    rows = rows.alias(similarity=similarity).order_by("-similarity", "sort_name", "pk")
    if not found.everywhere:
        found.add(rows.filter(similarity__gte=MIN_SIMILARITY))
        return
    pks = list_same_start(rows, text.start)
    if pks:
        found.add(rows.filter(pk__in=pks, similarity__gte=MIN_SIMILARITY))
    if not found.rows:
        pks = find_candidates(table, text.start, using=rows.db)
        found.add(rows.filter(pk__in=pks))


def list_same_start(rows: QuerySet, text: str) -> list[int]:
    """Return the keys of the first rows whose name has the same first letters."""
    start = text[:SAME_START]
    same = rows.filter(starts_with("sort_name", start)).order_by("sort_name", "pk")
    return list(same.values_list("pk", flat=True)[:MAX_CANDIDATES])


def find_candidates(table: str, text: str, *, using: str) -> list[int]:
    """Return the keys of rows with a similar name, found by the trigram index.

    The most similar rows come first.

    Sends all statements together, so that they need one round trip, and run in one
    transaction. The last statement resets the settings, because a transaction may
    already be open, such as in tests.
    """
    statements = [
        OTHER_SCANS.format(state="off"),
        SELECT_CANDIDATES.format(table=table),
        OTHER_SCANS.format(state="on"),
    ]
    parameters: list[str | int] = [text, MAX_CANDIDATES, text, MAX_BEST_CANDIDATES]
    with connections[using].cursor() as cursor:
        cursor.execute("; ".join(statements), parameters)
        cursor.nextset()
        return [pk for (pk,) in cursor.fetchall()]


def has_trigrams(using: str) -> bool:
    """Return whether the database has the trigram index.

    Caches the result once the index exists. Until then, runs a query each time.
    """
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


def make_organization_hit(row: Any, words: Collection[str]) -> Hit:
    """Return a hit for an organization. Its address is shown only if it matches."""
    fields = [make_field(row, "reference", words)]
    address = FoundField(
        get_label(row, "address"), mark_matches(row.address_start, words)
    )
    if address.is_match:
        fields.append(address)
    return Hit(row, make_field(row, "name", words), remove_empty(fields))


def make_contact_hit(row: Contact, words: Collection[str]) -> Hit:
    organization = FoundField(
        get_label(row, "organization"), mark_matches(row.organization.name, words)
    )
    fields = [
        organization,
        make_field(row, "role", words),
        make_field(row, "email", words),
    ]
    return Hit(row, make_field(row, "name", words), remove_empty(fields))


def make_person_hit(row: User, words: Collection[str]) -> Hit:
    fields = [
        make_field(row, "first_name", words),
        make_field(row, "last_name", words),
        make_field(row, "email", words),
    ]
    return Hit(row, make_field(row, "username", words), remove_empty(fields))


def make_field(row: models.Model, name: str, words: Collection[str]) -> FoundField:
    return FoundField(
        get_label(row, name), mark_matches(getattr(row, name) or "", words)
    )


def get_label(row: models.Model, name: str) -> Any:
    return row._meta.get_field(name).verbose_name  # type: ignore[union-attr]


def remove_empty(fields: Iterable[FoundField]) -> list[FoundField]:
    return [field for field in fields if field.parts]
