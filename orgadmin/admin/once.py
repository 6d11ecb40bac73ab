"""Prevents forms from being saved twice, even if they are sent twice.

Each form has a random key in a hidden field. The transaction that saves the form also
adds a row with this key to the database. If the form is sent again, for example by a
second click on a slow page, the second request waits for the first request. Then it
finds the row, does not save anything, and redirects to what the first request saved.

A request without a key, such as a request from a script, is saved each time.

On pages that can show again what was entered before a session ended, the key is signed
and comes from `orgadmin.accounts.sessions.kept_forms`.
"""

import secrets
from hashlib import sha256

from django.utils.translation import gettext_lazy as _

from orgadmin.accounts.sessions.kept_forms import FIELD
from orgadmin.models import SentForm

SENT_TWICE = _("This form was sent twice. It was saved only once.")


class AlreadySent(Exception):
    """The form of the request was already sent and saved."""

    def __init__(self, location):
        super().__init__(location)
        self.location = location  # the URL of what was saved


def make_form_key(request):
    """Return the key for the form of a page.

    A form that is shown again because it contains errors keeps its key.
    """
    return request.POST.get(FIELD) or secrets.token_urlsafe()


def has_form_key(request):
    return request.method == "POST" and bool(request.POST.get(FIELD))


def note_sent(request, location, button=""):
    """Record that the form in this request was sent, by adding a row for its key.

    Call this in the transaction that saves the form.

    `location` is the URL of what the form saves. If several buttons on the page send
    the same key, `button` identifies the button. Returns the row, or None if the
    request does not have a key. Raises `AlreadySent` if the row already exists.
    """
    if not has_form_key(request):
        return None
    parts = [request.POST[FIELD], str(request.user.pk), request.path, button]
    key = sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()
    row, is_new = SentForm.objects.add(key, location)
    if not is_new:
        raise AlreadySent(row.location)
    return row
