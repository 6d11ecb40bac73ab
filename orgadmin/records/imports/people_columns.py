"""The columns of files of people, and the titles and words that imports recognize."""

from __future__ import annotations

import re
from functools import lru_cache

from orgadmin.access.roles import ROLES, ROLES_BY_KEY, Role
from orgadmin.models.fields import normalize

# The columns of an export, in this order. The ID of an organization is only trusted
# with its key, which only this site can derive.
EXPORT_COLUMNS = (
    "email",
    "first_name",
    "last_name",
    "organization_id",
    "organization_id_key",
    "reference",
    "organization",
    "role",
    "until",
)

# What people can choose for a column. "organization" is the name of the organization.
CHOOSABLE = (
    *("email", "first_name", "last_name", "full_name"),
    *("reference", "organization", "role", "until"),
)

# What a column can contain. "id" and "id_key" are about the organization.
COLUMNS = (*CHOOSABLE, "id", "id_key")

# {what a column contains: its titles}, in English, German and French, and as HubSpot,
# Salesforce, CiviCRM, Google and Outlook write them. The comparison of titles ignores
# case, accents, spaces and punctuation. The names in COLUMNS are also titles, except
# "id", which is the ID of a person in files from other systems.
TITLES = {
    "email": (
        *("Email address", "E-mail address", "Mail", "Work email", "Email 1"),
        *("E-Mail-Adresse", "Mailadresse", "E-Mail 1", "Adresse e-mail"),
        *("Adresse mail", "Adresse électronique", "Courriel", "Mél"),
        *("E-mail 1 - Value",),
    ),
    "first_name": ("Given name", "Forename", "Vorname", "Rufname", "Prénom"),
    "last_name": (
        *("Family name", "Surname", "Nachname", "Familienname", "Zuname"),
        "Nom de famille",
    ),
    "full_name": (
        *("Name", "Person", "Contact", "Contact name", "Display name", "Anzeigename"),
        *("Vollständiger Name", "Ansprechpartner", "Nom complet", "Nom et prénom"),
        "Nom",
    ),
    "reference": (
        *("Organization reference", "Organisation reference", "Reference number"),
        *("Customer number", "Customer no", "Customer ID", "Client number"),
        *("Account number", "External ID", "Referenz", "Referenznummer"),
        *("Kundennummer", "Kundennr", "Kunden-Nr", "Kd.-Nr.", "KdNr"),
        *("Debitorennummer", "Mitgliedsnummer", "Référence", "Numéro client"),
        *("Numéro de client", "N° client", "No client", "Code client"),
    ),
    "organization": (
        *("Organisation", "Organization name", "Organisation name", "Company"),
        *("Company name", "Account", "Account name", "Employer", "Firma"),
        *("Firmenname", "Unternehmen", "Organisationsname", "Betrieb", "Verein"),
        *("Société", "Entreprise", "Raison sociale", "Nom de l'organisation"),
        *("Nom de la société", "Organization 1 - Name"),
    ),
    "role": ("Access", "Access level", "Rolle", "Zugriff", "Rôle", "Accès"),
    "until": (
        *("Access until", "Access ends on", "End date", "End of access", "Last day"),
        *("Expires", "Valid until", "Bis", "Zugriff bis", "Zugriff endet am"),
        *("Gültig bis", "Enddatum", "Letzter Tag", "Jusqu'au", "Accès jusqu'au"),
        *("Date de fin", "Fin d'accès", "Dernier jour"),
    ),
    "id": ("Organization ID", "Organisation ID", "Organisations-ID"),
    "id_key": ("Organization ID key", "Organisation ID key"),
}

# Titles of columns that are used only if no other column contains the same.
SECOND_TITLES = {"id": ("id",)}

# Titles that files of organizations have, and files of people do not.
ORGANIZATION_TITLES = (
    *("Admins", "Administrators", "Administratoren", "Administrateurs"),
    *("Reviewers", "Tax ID", "Tax number", "VAT ID", "VAT number", "Steuernummer"),
    *("USt-ID", "USt-IdNr", "SIRET", "SIREN", "Website", "Homepage", "Webseite"),
    *("Site web", "Notes", "Industry", "Branche", "Number of employees"),
)

# {role: words for it besides its key}
ROLE_WORDS = {
    "admin": (
        *("admins", "administrator", "administrators", "administratorin"),
        *("administratoren", "administrateur", "administrateurs", "administratrice"),
    ),
    "reviewer": (
        *("reviewers", "leser", "leserin", "lesende", "prüfer", "prüferin"),
        *("prüfende", "lecteur", "lectrice", "lecteurs", "réviseur", "réviseuse"),
    ),
}

# Words for access without an end. An empty cell keeps the current end.
NO_END = frozenset(
    [
        *("none", "never", "no end", "unlimited", "kein", "keine", "kein ende"),
        *("nie", "unbefristet", "aucun", "aucune", "jamais", "illimité"),
        *("-", "–", "—"),
    ]
)


@lru_cache(maxsize=1_000)  # Thousands of rows have the same few words.
def fold_word(text: str) -> str:
    """Return a normal form that is the same for different spellings of a word."""
    return re.sub(r"[\W_]", "", normalize(text))


def map_role_words() -> dict[str, Role]:
    """Return {folded word: role} for the keys of roles and the words in ROLE_WORDS."""
    roles = {role.key: role for role in ROLES}
    for key, words in ROLE_WORDS.items():
        for word in words:
            roles[fold_word(word)] = ROLES_BY_KEY[key]
    return roles


def map_titles() -> dict[str, str]:
    """Return {folded title: what the column contains}."""
    titles = {fold_word(name): name for name in COLUMNS if name != "id"}
    for name, known in TITLES.items():
        for title in known:
            titles[fold_word(title)] = name
    return titles


KNOWN_ROLES = map_role_words()
KNOWN_TITLES = map_titles()
KNOWN_SECOND_TITLES = {
    fold_word(title): name for name, titles in SECOND_TITLES.items() for title in titles
}
FOLDED_ORGANIZATION_TITLES = frozenset(
    fold_word(title) for title in ORGANIZATION_TITLES
)


def find_role(word: str) -> Role | None:
    """Return the role for a word in English, German or French, or for its label.

    Returns None if the word is unknown.
    """
    folded = fold_word(word)
    if folded in KNOWN_ROLES:
        return KNOWN_ROLES[folded]
    return next((role for role in ROLES if fold_word(str(role.label)) == folded), None)
