"""Forms that create or send something work once, also if they are sent twice.

Each form has a random key in a hidden field. The transaction that saves what the form
says also adds a row with this key to the database. If the form is sent again, for
example by a second click on a slow server, the second request waits for the first one.
Then it finds the row, saves nothing, and leads to what the first one saved.

A request without a key, such as one from a script, is saved each time.

A page that can show again what was entered before a session ended has a signed key,
from `orgadmin.accounts.sessions.kept_forms`.
"""

import secrets
from hashlib import sha256

from django.utils.translation import gettext_lazy as _

from orgadmin.accounts.sessions.kept_forms import FIELD
from orgadmin.models import SentForm

SENT_TWICE = _("This form was sent twice. It was saved only once.")


class AlreadySent(Exception):
    """The form of the request was sent before, and was saved."""

    def __init__(self, location):
        super().__init__(location)
        self.location = location  # the URL of what was saved


def make_form_key(request):
    """Return the key for the form of a page.

    A form that is shown again, because something in it is wrong, keeps its key.
    """
    return request.POST.get(FIELD) or secrets.token_urlsafe()


def has_form_key(request):
    return request.method == "POST" and bool(request.POST.get(FIELD))


def note_sent(request, location, button=""):
    """Add the row for the form of a request, in the transaction that saves it.

    `location` is the URL of what is saved. A page with several buttons, of which each
    saves something else, names the `button`. Returns the row, or None if the request
    has no key. Raises `AlreadySent` if there is such a row.
    """
    if not has_form_key(request):
        return None
    parts = [request.POST[FIELD], str(request.user.pk), request.path, button]
    key = sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()
    row, is_new = SentForm.objects.add(key, location)
    if not is_new:
        raise AlreadySent(row.location)
    return row
