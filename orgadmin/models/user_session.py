"""UserSession: the sessions of a person."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class UserSession(models.Model):
    """A session in which a person is signed in.

    Django's session table does not have a column for the user of a session. This table
    does, so that a person's sessions can be found with one query. `SessionStore` in
    `orgadmin.accounts.sessions.session_store` adds the rows. The content of a session,
    such as when it was last used, is only in Django's table. A row can remain after its
    session has ended.
    """

    # Without a constraint, the previous release can still delete users.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        related_name="sessions",
        db_constraint=False,
    )
    session_key = models.CharField(max_length=40, unique=True)
    # If the person signed in with a company account: hashes of the person and of their
    # session at the provider (orgadmin/accounts/company/sessions.py).
    company_subject = models.CharField(max_length=64, blank=True, null=True)
    company_sid = models.CharField(max_length=64, blank=True, null=True)

    class Meta:
        indexes = (
            models.Index(
                fields=["company_subject"],
                name="user_session_company_subject",
                condition=models.Q(company_subject__isnull=False),
            ),
            models.Index(
                fields=["company_sid"],
                name="user_session_company_sid",
                condition=models.Q(company_sid__isnull=False),
            ),
        )

    def __str__(self) -> str:
        # Not the session key, because anyone who knows it can use the session.
        return f"Session {self.pk}"
