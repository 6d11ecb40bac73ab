"""The columns of CSV files of organizations, and the titles that imports recognize."""

from __future__ import annotations

import re

from orgadmin.access.roles import ROLES

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

# {column: role}. A cell contains the email addresses of people with the role.
ROLE_COLUMNS = {f"{role.key}s": role for role in ROLES}

# {title of a column: what it contains}. `find_field()` compares titles in lower case,
# without spaces and punctuation.
COLUMNS = {
    # The names of the columns themselves, such as "taxid" for "tax_id".
    **{name.replace("_", ""): name for name in ("id", *FIELDS, *ROLE_COLUMNS)},
    "company": "name",
    "companyname": "name",
    "organisation": "name",
    "organization": "name",
    "homepage": "website",
    "url": "website",
    "web": "website",
    "emailaddress": "email",
    "mail": "email",
    "phonenumber": "phone",
    "tel": "phone",
    "telephone": "phone",
    "taxnumber": "tax_id",
    "vatid": "tax_id",
    "vatnumber": "tax_id",
}


def find_field(title: str) -> str | None:
    """Return the column for a title such as "Organization Name" or "E-mail".

    Returns None if the title is not known.
    """
    letters = re.sub(r"[\W_]", "", title).lower()
    # Remove the prefix of "Organization Name", but keep "Organization" alone: that is a
    # title of the name.
    without_prefix = re.sub("^organi[sz]ation(?=.)", "", letters)
    return COLUMNS.get(without_prefix)
