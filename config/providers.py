"""Read the environment variables about OpenID providers.

The variables OIDC_SERVER, OIDC_CLIENT_ID and so on describe the provider with the ID
"company". OIDC_PROVIDERS lists the IDs of other providers. The variables of "partner",
for example, are OIDC_PARTNER_SERVER and so on.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from urllib.parse import unquote

from config import env

# The ID of the provider whose variables do not contain an ID.
FIRST_ID = "company"

ROLE_KEYS = ("admin", "reviewer")


@dataclass(frozen=True)
class GroupRole:
    """The role that the members of a provider's group get in an organization."""

    group: str
    role: str  # the key of the role
    reference: str  # the reference of the organization


@dataclass(frozen=True)
class OpenIDProvider:
    """A server that people can sign in with."""

    id: str  # a part of URLs, and stored with people's accounts
    name: str  # on the sign-in page
    server: str  # the issuer, or the URL of the discovery document
    client_id: str
    client_secret: str = field(repr=False)
    # Whether this site accepts all email addresses as verified if the provider does not
    # send "email_verified".
    trusts_email: bool = False
    # The scopes that are requested in addition to "openid profile email".
    scopes: tuple[str, ...] = ()
    # The claim with the names of the person's groups.
    groups_claim: str = "groups"
    roles: tuple[GroupRole, ...] = ()


def read_providers(*, allow_http: bool) -> list[OpenIDProvider]:
    """Return the providers, in the order in which the sign-in page lists them.

    Their names must differ. If a variable is invalid, the process stops.
    """
    providers = []
    server = env.read_openid_server(
        "OIDC_SERVER", is_required=False, allow_http=allow_http
    )
    if server:
        name = env.read_required(
            "OIDC_NAME", expected="a name", default="OpenID Connect"
        )
        providers.append(read_provider(FIRST_ID, "OIDC", name, allow_http=allow_http))
    for provider_id in read_ids("OIDC_PROVIDERS"):
        prefix = "OIDC_" + provider_id.upper().replace("-", "_")
        expected = "the name of the provider on the sign-in page"
        name = env.read_required(f"{prefix}_NAME", expected=expected)
        if name in [provider.name for provider in providers]:
            sys.exit(f"{prefix}_NAME is missing or wrong: expected another name.")
        provider = read_provider(provider_id, prefix, name, allow_http=allow_http)
        providers.append(provider)
    return providers


def read_provider(
    provider_id: str, prefix: str, name: str, *, allow_http: bool
) -> OpenIDProvider:
    """Return the provider whose variables begin with the prefix, such as "OIDC"."""
    server = env.read_openid_server(
        f"{prefix}_SERVER", is_required=True, allow_http=allow_http
    )
    return OpenIDProvider(
        id=provider_id,
        name=name,
        server=server,
        client_id=env.read_required(
            f"{prefix}_CLIENT_ID",
            expected="the client ID that the OpenID provider gave to this site",
        ),
        client_secret=env.read_required(
            f"{prefix}_CLIENT_SECRET",
            expected="the client secret that the OpenID provider gave to this site",
        ),
        trusts_email=env.read_flag(f"{prefix}_TRUST_EMAIL"),
        scopes=tuple(env.read_list(f"{prefix}_SCOPES", default=[])),
        groups_claim=env.read_required(
            f"{prefix}_GROUPS_CLAIM",
            expected="the name of a claim, such as groups",
            default="groups",
        ),
        roles=read_roles(f"{prefix}_ROLES"),
    )


def read_ids(name: str) -> list[str]:
    expected = (
        "different IDs of lowercase letters, digits and hyphens, such as partner,"
        f" separated by commas, and not {FIRST_ID}"
    )
    return env.read(name, parse_ids, expected=expected)


def parse_ids(text: str) -> list[str]:
    ids = split(text)
    for provider_id in ids:
        if provider_id == FIRST_ID or not re.fullmatch("[a-z][a-z0-9-]*", provider_id):
            raise ValueError(f"{provider_id!r} is not an ID.")
    if len(set(ids)) < len(ids):
        raise ValueError("An ID occurs twice.")
    return ids


def read_roles(name: str) -> tuple[GroupRole, ...]:
    expected = "GROUP=ROLE@REFERENCE, such as staff=reviewer@C-1,board=admin@C-1"
    return env.read(name, parse_roles, expected=expected)


def parse_roles(text: str) -> tuple[GroupRole, ...]:
    """Return the roles in a comma-separated list of "GROUP=ROLE@REFERENCE" items.

    Separators inside a name are escaped as in URLs: %2C for a comma, %3D for an equals
    sign. Raises ValueError if an item is invalid.
    """
    return tuple(parse_role(item) for item in split(text))


def parse_role(item: str) -> GroupRole:
    group, rest = item.split("=")
    role, _at, reference = rest.partition("@")
    if role not in ROLE_KEYS or not group or not reference:
        raise ValueError(f"{item!r} is not GROUP=ROLE@REFERENCE.")
    return GroupRole(unquote(group), role, unquote(reference))


def split(text: str) -> list[str]:
    items = [item.strip() for item in text.split(",")]
    return [item for item in items if item]
