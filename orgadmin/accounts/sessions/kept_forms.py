"""Keeps what someone entered in a form while they sign in again.

If a form is sent after the session has ended, its fields are encrypted and kept in the
visitor's session for up to an hour. After the form's owner has signed in, the form's
page shows the fields once. Nothing is saved until the owner submits the form.

The form's key says who its owner is. It is a hidden field that is signed for one
account and one page. Only pages that were made for that account contain such a key, so
nobody can fill in a form for someone else. Forms without a signed key are not kept.
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

# The name of the hidden field with the form's key.
FIELD = "form_key"

# The purpose for which keys are signed and fields are encrypted.
PURPOSE = "orgadmin kept form"

# The session value with the form. A session keeps only one form, the last one.
SESSION_KEY = "kept_form"

# How long a form is kept.
LIFETIME = 60 * 60  # seconds

# How long a page can stay open before its form is sent.
PAGE_LIFETIME = 7 * 24 * 60 * 60  # seconds

# Enough for the longest notes of an organization, which its form contains twice.
MAX_SIZE = 256_000  # bytes, before they are compressed

# The names of fields that are never kept. `tests.test_kept_forms` compares them with
# all forms of the site.
SECRET_NAME = re.compile(r"password|secret|token|(^|[-_])code$", re.IGNORECASE)

# This field is a choice, not a password, so it is kept.
NOT_SECRET_NAME = "usable_password"


NOT_SAVED_YET = _("You were signed out before this was saved. Check it, then save.")


class TooLong(Exception):
    """What was entered is too long to be kept."""


@dataclass(frozen=True)
class KeptForm:
    """A kept form: the URL of its page, and what was entered."""

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

    If a superuser views the page as someone else, the key is not signed, so the form is
    not kept.
    """
    if get_viewing(request) is not None:
        return secrets.token_urlsafe()
    value = f"{request.user.pk}-{secrets.token_urlsafe()}"
    return make_signer(request).sign(value)


def choose_key(request: HttpRequest) -> str:
    """Return the key for a form on a page that shows kept forms again.

    A form that is shown again keeps its key if the key belongs to the same person.
    """
    data = get_returned_form(request) or request.POST
    key = data.get(FIELD, "")
    if find_key_owner(request, key) == request.user.pk:
        return key
    return make_key(request)


def find_key_owner(request: HttpRequest, key: str) -> int | None:
    """Return the ID of the user that the key was signed for, or None."""
    try:
        value = make_signer(request).unsign(key, max_age=PAGE_LIFETIME)
    except BadSignature:
        return None
    return int(value.partition("-")[0])


def make_signer(request: HttpRequest) -> TimestampSigner:
    """Return the signer of the keys of the forms on one page."""
    return TimestampSigner(salt=f"{PURPOSE} {request.path}")


# Keeping a form


def has_kept_form_key(request: HttpRequest) -> bool:
    """Return whether the request is a form with a key that is signed for an account."""
    return find_form_owner(request) is not None


def find_form_owner(request: HttpRequest) -> int | None:
    """Return the ID of the user that the form's key was signed for, or None."""
    if request.method != "POST":
        return None
    return find_key_owner(request, request.POST.get(FIELD, ""))


def keep_form(request: HttpRequest) -> None:
    """Keep the form of a request in the session. It replaces an earlier form.

    Leaves out fields that may contain passwords, codes or tokens. The form must have a
    key that is signed for an account. Raises `TooLong`.
    """
    fields = []
    for name, values in request.POST.lists():
        if not is_secret(name):
            fields.append((name, values))
    content = json.dumps([request.get_full_path(), fields], ensure_ascii=False)
    # Requests in an encoding that browsers never use can contain text that cannot be
    # encoded as UTF-8.
    encoded = content.encode("utf-8", "replace")
    if len(encoded) > MAX_SIZE:
        raise TooLong
    text = b64encode(zlib.compress(encoded)).decode()
    request.session[SESSION_KEY] = {
        "owner": find_form_owner(request),
        "until": time.time() + LIFETIME,
        "content": encrypt(text, purpose=PURPOSE),
    }


def is_secret(name: str) -> bool:
    """Return whether a field may contain a password, a code or a token."""
    return name != NOT_SECRET_NAME and SECRET_NAME.search(name) is not None


def restore_form(kept: dict[str, Any] | None, session: SessionBase, user: User) -> None:
    """Put the visitor's kept form into the session of the user who has signed in.

    `kept` is the value from the visitor's session, or None. The form is dropped unless
    the user is its owner.
    """
    if kept is not None and kept["owner"] == user.pk:
        session[SESSION_KEY] = kept


def drop_expired_form(session: SessionBase) -> None:
    kept = session.get(SESSION_KEY)
    if kept is not None and kept["until"] <= time.time():
        del session[SESSION_KEY]


# Showing the form again


def find_kept_form(request: HttpRequest) -> KeptForm | None:
    """Return the kept form of the person who is signed in, or None."""
    drop_expired_form(request.session)
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

    The first call for a request removes the kept form from the session, so that it is
    shown only once. If there is one, the page must fill in its form and call
    `tell_not_saved`, and must not save anything. The page's form needs a key from
    `choose_key`. Returns None if there is no kept form for this page.
    """
    attributes = vars(request)
    if "returned_form" not in attributes:
        attributes["returned_form"] = take_kept_form(request)
    return attributes["returned_form"]


def tell_not_saved(request: HttpRequest) -> None:
    """Add a message that the form was not saved, for a page that shows it again."""
    messages.warning(request, NOT_SAVED_YET)


def take_kept_form(request: HttpRequest) -> QueryDict | None:
    """Remove the kept form from the session if it belongs to the requested page.

    Returns its fields, or None if it does not belong to this page, or if the request is
    not a GET.
    """
    if request.method != "GET":
        return None
    kept = find_kept_form(request)
    if kept is None or kept.path != request.get_full_path():
        return None
    del request.session[SESSION_KEY]
    return kept.make_data()
