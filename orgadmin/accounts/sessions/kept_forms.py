"""Keeping what someone entered while they sign in again.

If a form is sent after the session has ended, its fields wait in the session of the
visitor, encrypted, for an hour at most. When the same person has signed in, the page
of the form shows them once. Nothing is saved until the person saves the form.

Whose form it is, its key says: a hidden field that is signed for one account and one
page. Only the pages of that account contain such a key, so nobody can fill in a form
in the name of someone else. A page whose form has no signed key keeps nothing.
"""

from __future__ import annotations

import json
import re
import secrets
import time
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.sessions.backends.base import SessionBase
from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext_lazy as _

from orgadmin.accounts.view_as_session import get_viewing
from orgadmin.models import User
from orgadmin.records.encryption import UnreadableSecret, decrypt, encrypt

# The name of the hidden field.
FIELD = "form_key"

# What the keys are signed for, and what the fields are encrypted for.
PURPOSE = "orgadmin kept form"

# The key in the session. A browser keeps one form; a later one replaces it.
SESSION_KEY = "kept_form"

LIFETIME = 60 * 60  # seconds

# How long a page can stay open before its form is sent, in seconds.
PAGE_LIFETIME = 7 * 24 * 60 * 60

# Enough for the longest notes of an organization, which its form contains twice.
MAX_SIZE = 256_000  # bytes, before they are compressed

# The names of fields that are never kept. `tests.test_kept_forms` compares them with
# all forms of the site.
SECRET_NAME = re.compile(r"password|secret|token|(^|[-_])code$", re.IGNORECASE)

# A choice, and no password.
HARMLESS_NAME = "usable_password"


NOT_SAVED_YET = _("You were signed out before this was saved. Check it, then save.")


class TooLong(Exception):
    """What was entered is too long to be kept."""


@dataclass(frozen=True)
class KeptForm:
    """A form that waits for its person: the URL of its page, and what was entered."""

    path: str
    fields: list[tuple[str, list[str]]]

    def make_data(self) -> QueryDict:
        data = QueryDict(mutable=True)
        for name, values in self.fields:
            data.setlist(name, values)
        data._mutable = False
        return data


# The key of a form


def make_key(request: HttpRequest) -> str:
    """Return a new key for a form on the page of a request.

    It is signed for nobody if a superuser views the page as someone else.
    """
    if get_viewing(request) is not None:
        return secrets.token_urlsafe()
    value = f"{request.user.pk}-{secrets.token_urlsafe()}"
    return make_signer(request).sign(value)


def choose_key(request: HttpRequest) -> str:
    """Return the key for the form of a page that shows kept forms again.

    A form that is shown again keeps its key, unless it is the key of someone else.
    """
    data = get_returned_form(request) or request.POST
    key = data.get(FIELD, "")
    if find_owner(request, key) == request.user.pk:
        return key
    return make_key(request)


def find_owner(request: HttpRequest, key: str) -> int | None:
    """Return the ID of the user whose page had the key, or None if nobody's had."""
    try:
        value = make_signer(request).unsign(key, max_age=PAGE_LIFETIME)
    except BadSignature:
        return None
    return int(value.partition("-")[0])


def make_signer(request: HttpRequest) -> TimestampSigner:
    """Return what signs the keys of the forms on one page."""
    return TimestampSigner(salt=f"{PURPOSE} {request.path}")


# Keeping a form


def has_kept_form_key(request: HttpRequest) -> bool:
    """Return whether a form was sent that the page of some account had."""
    return find_sender(request) is not None


def find_sender(request: HttpRequest) -> int | None:
    """Return the ID of the user on whose page the form of a request was."""
    if request.method != "POST":
        return None
    return find_owner(request, request.POST.get(FIELD, ""))


def keep(request: HttpRequest) -> None:
    """Keep the form of a request, instead of any other. Raises `TooLong`.

    The form must have a key that is signed for an account.
    """
    fields = []
    for name, values in request.POST.lists():
        if not is_secret(name):
            fields.append((name, values))
    content = json.dumps([request.get_full_path(), fields], ensure_ascii=False)
    # Some encodings that a browser never uses lead to text that has no UTF-8.
    encoded = content.encode("utf-8", "replace")
    if len(encoded) > MAX_SIZE:
        raise TooLong
    text = b64encode(zlib.compress(encoded)).decode()
    request.session[SESSION_KEY] = {
        "owner": find_sender(request),
        "until": time.time() + LIFETIME,
        "content": encrypt(text, purpose=PURPOSE),
    }


def is_secret(name: str) -> bool:
    """Return whether a field contains a password, a code or a token."""
    return name != HARMLESS_NAME and SECRET_NAME.search(name) is not None


def hand_over(kept: dict[str, Any] | None, session: SessionBase, user: User) -> None:
    """Put a form of the visitor into the session of the person who has signed in.

    Does so only if it is their form. Anyone else's form is gone.
    """
    if kept is not None and kept["owner"] == user.pk:
        session[SESSION_KEY] = kept


def drop_expired(session: SessionBase) -> None:
    kept = session.get(SESSION_KEY)
    if kept is not None and kept["until"] <= time.time():
        del session[SESSION_KEY]


# Giving it back


def find_kept_form(request: HttpRequest) -> KeptForm | None:
    """Return the form that waits for the person who is signed in, if there is one."""
    drop_expired(request.session)
    kept = request.session.get(SESSION_KEY)
    if kept is None or kept["owner"] != request.user.pk:
        return None
    try:
        text = decrypt(kept["content"], purpose=PURPOSE)
    except UnreadableSecret:
        # SECRET_KEY was replaced in the meantime.
        return None
    path, fields = json.loads(zlib.decompress(b64decode(text)))
    return KeptForm(path, fields)


def get_returned_form(request: HttpRequest) -> QueryDict | None:
    """Return what the person entered on this page before they signed in again.

    The first call for a request removes it from the session, so that it is shown once.
    A page that calls this fills in its form, calls `tell_not_saved`, and saves nothing.
    The form needs a key from `choose_key`.
    """
    remembered = vars(request)
    if "returned_form" not in remembered:
        remembered["returned_form"] = take_kept_form(request)
    return remembered["returned_form"]


def tell_not_saved(request: HttpRequest) -> None:
    """Say on the page of a returned form that it was not saved."""
    messages.warning(request, NOT_SAVED_YET)


def take_kept_form(request: HttpRequest) -> QueryDict | None:
    if request.method != "GET":
        return None
    kept = find_kept_form(request)
    if kept is None or kept.path != request.get_full_path():
        return None
    del request.session[SESSION_KEY]
    return kept.make_data()
