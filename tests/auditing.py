"""Writing to the audit log as requests do, and as someone with the database could."""

from unittest import mock

from django.db import connection

from orgadmin.access.audit_log import SecurityEvent, publish, record
from orgadmin.models import AuditEvent


def write(event, network="192.0.2.0/24", request_id="r" * 32, **values):
    """Record an event as if a request had caused it."""
    origin = mock.Mock(network=network, request_id=request_id)
    with mock.patch("orgadmin.access.audit_log.get_origin", return_value=origin):
        record(event, **values)


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
