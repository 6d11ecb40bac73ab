"""A session store that extends Django's: it also records whose session each one is.

`UserSession` lists the sessions of people who are signed in, by session key. Each
listed session has a value "listed": the key with which it was last listed. Django
changes the key of a session when the person signs in or confirms who they are, and then
the row of `UserSession` must be updated.
"""

from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.models import Session
from django.db import OperationalError, transaction
from django.db.models import Exists, OuterRef

from orgadmin.models import UserSession

LISTED = "listed"


class SessionStore(db.SessionStore):
    """Stores sessions in Django's table, and lists them in `UserSession`."""

    def save(self, must_create: bool = False) -> None:
        """Save the session, and list it in `UserSession` with its current key.

        Raises `SessionInterrupted` if the person has ended the session in the meantime.
        """
        if self.session_key is None:
            # This calls save() again, with a key.
            self.create()
            return
        data = self._get_session(no_load=must_create)
        listed_key = data.get(LISTED)
        is_signed_in = SESSION_KEY in data
        if not is_signed_in or listed_key == self.session_key:
            self._store(must_create)
            return
        data[LISTED] = self.session_key
        with transaction.atomic():
            self._store(must_create)
            self._list(data, listed_key)

    def _store(self, must_create: bool) -> None:
        """Save the session with Django's method, but raise errors of the database.

        Django would treat such an error like a session that has ended, and respond with
        status 400.
        """
        try:
            super().save(must_create)
        except UpdateError as error:
            if isinstance(error.__context__, OperationalError):
                raise error.__context__ from None
            raise

    def _list(self, data: dict[str, Any], previous_key: str | None) -> None:
        """Add the session to `UserSession`, or update its key there.

        `previous_key` is the key with which the session was last listed.
        """
        if previous_key is None:
            company = data.get("company", {})
            UserSession.objects.create(
                user_id=data[SESSION_KEY],
                session_key=self.session_key,
                company_subject=company.get("subject"),
                company_sid=company.get("sid"),
            )
            return
        rows = UserSession.objects.filter(session_key=previous_key)
        if not rows.update(session_key=self.session_key):
            raise SessionInterrupted("The session was ended during the request.")

    @classmethod
    def clear_expired(cls) -> None:
        super().clear_expired()
        stored = Session.objects.filter(session_key=OuterRef("session_key"))
        UserSession.objects.filter(~Exists(stored)).delete()
