"""The audit log in tests: writing events, reading them, and tampering with them."""

from unittest import mock

from django.db import connection

from orgadmin.access.audit_log import SecurityEvent, publish, record
from orgadmin.models import AuditEvent


def write(event, network="192.0.2.0/24", request_id="r" * 32, **values):
    """Record an event as if a request had caused it."""
    origin = mock.Mock(network=network, request_id=request_id)
    with mock.patch("orgadmin.access.audit_log.get_origin", return_value=origin):
        record(event, **values)


def list_events(user):
    """Return the kinds of the events of a person's account, the oldest first."""
    events = AuditEvent.objects.filter(user_key=user.pk).order_by("pk")
    return list(events.values_list("event", flat=True))


def write_typed_name(name):
    """Write a failed sign-in with what was typed as a name, as early releases did."""
    AuditEvent.objects.create(
        event=SecurityEvent.SIGN_IN_FAILED,
        user_name=name,
        network="192.0.2.0/24",
        request_id="r" * 32,
    )
    publish()


def tamper_with_audit_log(sql):
    """Change the audit log behind Django's back, as someone with the database could."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ALTER TABLE orgadmin_auditevent DISABLE TRIGGER USER")
        cursor.execute(sql)
        if connection.vendor == "postgresql":
            cursor.execute("ALTER TABLE orgadmin_auditevent ENABLE TRIGGER USER")
