"""The columns of import and export files, and the titles that imports recognize."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from orgadmin.access.roles import ROLES
from orgadmin.models.fields import normalize

# The fields of Organization in files and in the form, in this order.
FIELDS = (
    "name",
    "reference",
    "website",
    "email",
    "phone",
    "address",
    "tax_id",
    "notes",
)

# {column: role}. A cell contains the email addresses of people with the role, each
# followed by the last day of their access if it ends:
# "mary@example.com until 2026-12-31; ben@example.com".
ROLE_COLUMNS = {f"{role.key}s": role for role in ROLES}
UNTIL = "until"

# An exported file has the ID of each organization, and a key that only this site can
# derive from it. Without the key, an ID is not trusted, because it may come from
# another system.
ID_COLUMNS = ("id", "id_key")

# Columns that contain parts of an address, in the order of the address.
ADDRESS_PARTS = ("street", "postal_code", "city", "region", "country")

# What the columns of a file can contain
COLUMNS = (*ID_COLUMNS, *FIELDS, *ROLE_COLUMNS, *ADDRESS_PARTS)

# {what a column contains: its titles}, in English, German and French, and as HubSpot,
# Salesforce, CiviCRM, Google and Outlook write them. The comparison of titles ignores
# case, accents, spaces, punctuation and the word "organization" at the start. The names
# in COLUMNS are also titles.
TITLES = {
    "name": (
        *("Company", "Company name", "Organization", "Organisation", "Account"),
        *("Account name", "Business name", "Customer", "Customer name", "Client"),
        *("Firma", "Firmenname", "Unternehmen", "Unternehmensname", "Kunde"),
        *("Kundenname", "Organisationsname", "Name der Organisation", "Betrieb"),
        *("Name der Firma", "Lieferant", "Verein", "Name 1", "Bezeichnung"),
        *("Nom", "Société", "Entreprise", "Raison sociale", "Nom de l'entreprise"),
        *("Nom de la société", "Nom de l'organisation", "Nom du client"),
        *("Dénomination", "Dénomination sociale", "Organization 1 - Name"),
    ),
    "reference": (
        *("Reference number", "Customer number", "Customer no", "Customer ID"),
        *("Client number", "Client ID", "External ID", "External identifier"),
        *("Account number", "Referenz", "Referenznummer", "Kundennummer"),
        *("Kundennr", "Kunden-Nr", "Kd.-Nr.", "KdNr", "Debitorennummer", "Debitor"),
        *("Lieferantennummer", "Mitgliedsnummer", "Référence", "Numéro client"),
        *("Numéro de client", "N° client", "No client", "Code client"),
    ),
    "website": (
        *("Homepage", "URL", "Web", "Web page", "Website URL", "Internet"),
        *("Internetseite", "Webseite", "Internetadresse"),
        *("Webadresse", "Site", "Site web", "Site internet", "Site Internet URL"),
        *("Page web", "Website 1 - Value"),
    ),
    "email": (
        *("Email address", "E-mail address", "Mail", "Company email"),
        *("E-Mail-Adresse", "Mailadresse", "E-Mail 1", "Adresse e-mail"),
        *("Adresse mail", "Adresse électronique", "Courriel", "Mél"),
        *("E-mail 1 - Value",),
    ),
    "phone": (
        *("Phone number", "Tel", "Telephone", "Telephone number"),
        *("Business phone", "Telefon", "Telefonnummer"),
        *("Telefon-Nr", "Tel.-Nr.", "Rufnummer", "Telefon geschäftlich"),
        *("Téléphone", "Numéro de téléphone", "Tél", "N° de téléphone"),
        *("Phone 1 - Value",),
    ),
    "address": (
        *("Postal address", "Mailing address", "Billing address", "Full address"),
        *("Anschrift", "Adresse", "Postanschrift", "Adresse postale"),
        *("Adresse complète", "Address 1 - Formatted"),
    ),
    "tax_id": (
        *("Tax number", "VAT ID", "VAT number", "VAT", "VAT registration number"),
        *("Steuernummer", "Steuer-ID", "Umsatzsteuer-ID", "USt-ID", "USt-IdNr"),
        *("Umsatzsteuer-Identifikationsnummer", "UID", "UID-Nummer", "Ust-ID-Nr"),
        *("Numéro de TVA", "N° TVA", "TVA intracommunautaire"),
        *("Numéro de TVA intracommunautaire", "SIRET", "SIREN"),
    ),
    "notes": (
        *("Note", "Comment", "Comments", "Description", "Remarks"),
        *("Notiz", "Notizen", "Bemerkung", "Bemerkungen", "Kommentar", "Anmerkung"),
        *("Anmerkungen", "Beschreibung", "Remarque", "Remarques", "Commentaire"),
        *("Commentaires",),
    ),
    "admins": ("Administrators", "Administratoren", "Administrateurs"),
    "reviewers": ("Prüfer", "Prüfende", "Réviseurs"),
    "street": (
        *("Street address", "Address line 1", "Address 1", "Billing street"),
        *("Business street", "Straße", "Straße und Hausnummer", "Straße, Hausnr."),
        *("Strasse Nr", "Straße Nr.", "Straße geschäftlich", "Rue"),
        *("Numéro et rue", "Rue (bureau)", "Address 1 - Street"),
    ),
    "postal_code": (
        *("Postcode", "Zip", "Zip code", "ZIP/Postal code", "Postal or ZIP code"),
        *("Billing ZIP/Postal code", "Billing postal code", "Business postal code"),
        *("PLZ", "Postleitzahl", "Postleitzahl geschäftlich", "Code postal", "CP"),
        *("Address 1 - Postal code",),
    ),
    "city": (
        *("Town", "Billing city", "Business city", "Ort", "Stadt", "Wohnort"),
        *("Ort geschäftlich", "Ville", "Localité", "Commune", "Address 1 - City"),
    ),
    "region": (
        *("State", "Province", "County", "State/Region", "State/Province"),
        *("Billing state/province", "Billing state", "Business state"),
        *("Bundesland", "Kanton", "Région", "Département", "Address 1 - Region"),
    ),
    "country": (
        *("Country/Region", "Billing country", "Business country"),
        *("Business country/region", "Land", "Staat", "Pays", "Address 1 - Country"),
    ),
}

# Titles of columns that are used only if no other column contains the same.
SECOND_TITLES = {
    "website": ("Company domain name", "Domain", "Domain name"),
    "phone": ("Company main phone", "Main phone", "Phone 2 - Value", "Zentrale"),
    "email": ("Email 2", "E-mail 2 - Value", "E-mail 2 Address"),
    "name": ("Legal name", "Display name", "Anzeigename"),
}

# Titles that only files of people have
PERSON_TITLES = (
    *("First name", "Last name", "Given name", "Family name", "Surname"),
    *("Middle name", "Additional name", "Nickname", "Suffix", "Name suffix"),
    *("Name prefix", "Salutation", "Job title", "Birthday", "Gender", "Birth date"),
    *("Mobile phone", "Home phone", "Home street", "Spouse", "Children", "Hobby"),
    *("Phonetic first name", "Organization title", "Organization 1 - Title"),
    *("Vorname", "Nachname", "Familienname", "Zuname", "Anrede", "Geburtsdatum"),
    *("Geburtstag", "Geschlecht", "Position", "Titel", "Berufsbezeichnung"),
    *("Prénom", "Nom de famille", "Civilité", "Date de naissance", "Fonction"),
)

# In a file with one of the first titles, a column with one of the second titles
# contains the last names of people, not the names of organizations.
FIRST_NAMES = ("First name", "Given name", "Vorname", "Prénom")
GENERAL_NAMES = ("Name", "Nom")


# A file with one of these titles and an email address gives roles to people.
ROLE_TITLES = ("Role", "Rolle", "Rôle")


def fold_title(title: str) -> str:
    """Return a normal form that is the same for different spellings of a title."""
    letters = re.sub(r"[\W_]", "", normalize(title))
    # Remove the prefix from "Organization Name", but keep "Organization" alone, which
    # is a title of the name.
    return re.sub("^organi[sz]ation(?=.)", "", letters)


def fold_titles(titles: Iterable[str]) -> frozenset[str]:
    return frozenset(fold_title(title) for title in titles)


def invert(titles: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return {folded title: what the column contains}."""
    columns = {}
    for column, titles_of_column in titles.items():
        for title in titles_of_column:
            columns[fold_title(title)] = column
    return columns


KNOWN_TITLES = invert({column: [column] for column in COLUMNS}) | invert(TITLES)
KNOWN_SECOND_TITLES = invert(SECOND_TITLES)
FOLDED_PERSON_TITLES = fold_titles(PERSON_TITLES)
FOLDED_FIRST_NAMES = fold_titles(FIRST_NAMES)
FOLDED_GENERAL_NAMES = fold_titles(GENERAL_NAMES)
FOLDED_ROLE_TITLES = fold_titles(ROLE_TITLES)


def find_field(title: str) -> str | None:
    """Return the column for a title such as "Organization Name" or "E-mail".

    Returns None if the title is not known.
    """
    return KNOWN_TITLES.get(fold_title(title))


def find_second_field(title: str) -> str | None:
    """Return what a column contains if no other column does, or None."""
    return KNOWN_SECOND_TITLES.get(fold_title(title))
