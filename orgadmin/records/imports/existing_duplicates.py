"""Finds existing organizations that a new row may duplicate.

`cleaning.py` rejects rows that repeat each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from django.db.models import F, Value
from django.db.models.functions import Lower, StrIndex, Substr
from django.utils.translation import gettext as _

from orgadmin.access.batches import split_into_batches
from orgadmin.models.fields import normalize
from orgadmin.models.look_alikes import make_key
from orgadmin.records.imports.problems import printable
from orgadmin.records.imports.suspicions import DUPLICATE, ImportWarning

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from orgadmin.models import Organization
    from orgadmin.records.imports.planning import PlannedRow

# Domains of email providers. Anyone can have an address there, so they do not identify
# an organization.
PUBLIC_DOMAINS = frozenset(
    [
        *("gmail.com", "googlemail.com", "outlook.com", "outlook.de", "outlook.fr"),
        *("hotmail.com", "hotmail.de", "hotmail.fr", "live.com", "msn.com"),
        *("yahoo.com", "yahoo.de", "yahoo.fr", "icloud.com", "me.com", "mac.com"),
        *("aol.com", "aol.de", "gmx.de", "gmx.net", "gmx.at", "gmx.ch", "web.de"),
        *("t-online.de", "freenet.de", "posteo.de", "mailbox.org", "proton.me"),
        *("protonmail.com", "orange.fr", "wanadoo.fr", "free.fr", "sfr.fr"),
        *("laposte.net", "bluewin.ch"),
    ]
)

# A domain with more organizations than this does not identify an organization, either.
# It may belong to an email provider, or to a group of companies.
MAX_AT_DOMAIN = 20

# The number of rows that are compared at once. Each batch reads the domains of all
# organizations, so larger batches take less time. A query can have 32,766 parameters on
# SQLite.
BATCH = 10_000

# The minimum similarity of two names, from 0 to 1, if their email domains are the same
MIN_SIMILARITY = 0.6

# Words for the legal form of a company, which are not compared
LEGAL_FORMS = frozenset(
    [
        *("gmbh", "ag", "kg", "ohg", "ug", "gbr", "se", "mbh", "co", "e.v.", "ev"),
        *("eg", "inc", "inc.", "ltd", "ltd.", "limited", "llc", "corp", "plc", "sa"),
        *("s.a.", "sarl", "s.a.r.l.", "sas", "eurl", "bv", "b.v.", "nv", "n.v.", "spa"),
        *("s.p.a.", "srl", "s.r.l.", "ab", "oy", "as"),
    ]
)


@dataclass(frozen=True)
class NewRow:
    """The values of a new organization that are compared with existing ones."""

    line: int
    name: str
    domain: str
    tax_id: str


@dataclass(frozen=True)
class Resembled:
    """An existing organization that a new row may duplicate."""

    pk: int
    name: str


class DuplicateFinder:
    """Collects the new rows of an import, and compares them with organizations.

    Only finds organizations that the person can view.
    """

    def __init__(self, viewable: QuerySet[Organization]) -> None:
        self.viewable = viewable.order_by()
        self.rows: list[NewRow] = []
        self.common_domains: set[str] = set()

    def add(self, rows: Iterable[PlannedRow]) -> None:
        for row in rows:
            if row.is_new:
                self.rows.append(
                    NewRow(
                        line=row.line,
                        name=row.organization.name,
                        domain=find_domain(row.organization.email),
                        tax_id=row.organization.tax_id,
                    )
                )

    def find(self, created_pks: Iterable[int]) -> list[ImportWarning]:
        """Return a warning for each new row that resembles an existing organization.

        `created_pks` are the IDs of organizations that the import itself has created.
        They are not compared. Runs up to three queries per batch.
        """
        # IDs only increase, so organizations from the import have the highest IDs.
        first_created = min(created_pks, default=None)
        if first_created is not None:
            self.viewable = self.viewable.filter(pk__lt=first_created)
        warnings = []
        for batch in split_into_batches(self.rows, BATCH):
            by_key = self._find_by_name(batch)
            by_domain = self._find_by_domain(batch)
            by_tax_id = self._find_by_tax_id(batch)
            for row in batch:
                duplicate = find_duplicate(row, by_key, by_domain, by_tax_id)
                if duplicate is not None:
                    warnings.append(
                        ImportWarning(
                            DUPLICATE,
                            row.line,
                            value=row.name,
                            detail=duplicate.describe(),
                            resembled=duplicate.organization.pk,
                            resembled_name=duplicate.organization.name,
                        )
                    )
        return warnings

    def _find_by_name(self, rows: Sequence[NewRow]) -> dict[str, Resembled]:
        """Return {name key: an organization with this key}."""
        keys = {make_key(row.name) for row in rows}
        found = self.viewable.filter(name_key__in=keys)
        by_key = {}
        for pk, key, name in found.values_list("pk", "name_key", "name"):
            by_key[key] = Resembled(pk, name)
        return by_key

    def _find_by_domain(self, rows: Sequence[NewRow]) -> dict[str, list[Resembled]]:
        """Return {email domain: organizations with this domain}.

        Leaves out domains with more than MAX_AT_DOMAIN organizations.
        """
        domains = {row.domain for row in rows if row.domain} - self.common_domains
        if not domains:
            return {}
        start = StrIndex("email", Value("@")) + 1
        found = self.viewable.exclude(email="")
        found = found.annotate(domain=Lower(Substr("email", start)))
        found = found.filter(domain__in=domains)
        by_domain: dict[str, list[Resembled]] = defaultdict(list)
        for pk, domain, name in found.values_list("pk", F("domain"), "name").iterator():
            if domain in self.common_domains:
                continue
            by_domain[domain].append(Resembled(pk, name))
            if len(by_domain[domain]) > MAX_AT_DOMAIN:
                self.common_domains.add(domain)
                del by_domain[domain]
        return by_domain

    def _find_by_tax_id(self, rows: Sequence[NewRow]) -> dict[str, Resembled]:
        """Return {tax ID: an organization with this tax ID}.

        This does not reveal tax IDs to others, because only superusers and commands can
        import them.
        """
        tax_ids = {row.tax_id for row in rows if row.tax_id}
        if not tax_ids:
            return {}
        found = self.viewable.filter(tax_id__in=tax_ids)
        by_tax_id = {}
        for pk, tax_id, name in found.values_list("pk", "tax_id", "name"):
            by_tax_id[tax_id] = Resembled(pk, name)
        return by_tax_id


@dataclass(frozen=True)
class Duplicate:
    """An existing organization, and why a new row may duplicate it."""

    organization: Resembled
    reason: str  # with "%s" for the name of the organization

    def describe(self) -> str:
        return self.reason % printable(self.organization.name)


def find_duplicate(
    row: NewRow,
    by_key: dict[str, Resembled],
    by_domain: dict[str, list[Resembled]],
    by_tax_id: dict[str, Resembled],
) -> Duplicate | None:
    """Return an existing organization that a row may duplicate, or None."""
    namesake = by_key.get(make_key(row.name))
    if namesake is not None:
        reason = _("“%s” has the same name, or one that looks like it.")
        return Duplicate(namesake, reason)
    same_tax_id = by_tax_id.get(row.tax_id)
    if same_tax_id is not None:
        return Duplicate(same_tax_id, _("“%s” has the same tax ID."))
    for other in by_domain.get(row.domain, []):
        if are_similar(row.name, other.name):
            reason = _(
                "“%s” has a similar name, and an email address at the same domain."
            )
            return Duplicate(other, reason)
    return None


def find_domain(email: str) -> str:
    """Return the domain of an email address, or "" for an email provider."""
    domain = email.rpartition("@")[2].lower()
    return "" if domain in PUBLIC_DOMAINS else domain


def are_similar(first: str, second: str) -> bool:
    """Return whether two names are similar, ignoring legal forms."""
    matcher = SequenceMatcher(None, strip_legal_form(first), strip_legal_form(second))
    return matcher.ratio() >= MIN_SIMILARITY


def strip_legal_form(name: str) -> str:
    words = [word for word in normalize(name).split() if word not in LEGAL_FORMS]
    return " ".join(words)
