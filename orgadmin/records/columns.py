"""The columns of a file of organizations, and the titles by which they are known."""

from __future__ import annotations

import re

from orgadmin.access.roles import ROLES

# The fields of Organization that files contain, and the form shows, in this order.
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
    # Each column under its own name: "taxid" is "tax_id".
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
    """Return what a column titled "Organization Name" or "E-mail" contains.

    None if the title is not known.
    """
    letters = re.sub(r"[\W_]", "", title).lower()
    # "Organization Name" is the name, but "Organization" alone is the name, too.
    without_prefix = re.sub("^organi[sz]ation(?=.)", "", letters)
    return COLUMNS.get(without_prefix)
