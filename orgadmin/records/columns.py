"""The columns of an import or export file."""

import re

from orgadmin.access.roles import ROLES

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


PEOPLE = {f"{role.key}s": role for role in ROLES}  # columns of e-mail addresses


# Titles of columns, as far as they are letters and digits -> what they mean.
COLUMNS = {name.replace("_", ""): name for name in ("id", *FIELDS, *PEOPLE)}


COLUMNS |= {
    "company": "name",
    "companyname": "name",
    "organization": "name",
    "organisation": "name",
    "tel": "phone",
}


COLUMNS |= {
    "telephone": "phone",
    "phonenumber": "phone",
    "url": "website",
    "homepage": "website",
    "mail": "email",
}


COLUMNS |= {
    "web": "website",
    "emailaddress": "email",
    "vatid": "tax_id",
    "vatnumber": "tax_id",
    "taxnumber": "tax_id",
}


def _find_field(title):
    """Return the field that a column title such as "Organization Name" or "E-mail" means, or None."""
    return COLUMNS.get(
        re.sub("^organi[sz]ation(?=.)", "", re.sub(r"[\W_]", "", title).lower())
    )
