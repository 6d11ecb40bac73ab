"""Limits on guessing passwords and on sending mail: kept in the database, so that they hold across processes."""

from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from ipaddress import ip_address, ip_network

from django.conf import settings
from django.db import connection
from django.utils import timezone

from orgadmin.models import SignInAttempt

LIMIT = 10  # attempts with one user name from one address; mails to one address


WINDOW = timedelta(minutes=15)


def find_address(request):
    """Return where a request comes from, as the proxy says where there is one; of IPv6, the network of a customer."""
    proxied = (
        settings.TRUST_PROXY
        and request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    )
    address = proxied or request.META.get("REMOTE_ADDR", "")
    address = (
        address.partition(":")[0] if address.count(":") == 1 else address.strip("[]")
    )  # some tell the port
    with suppress(ValueError):  # such as of a socket, which has none
        if (ip := ip_address(address)).version == 6:
            return str(ip.ipv4_mapped or ip_network(f"{ip}/64", strict=False))
    return address


def is_allowed(what, address, limit=LIMIT):
    """Count an attempt, and tell whether it may go on. `what` is a user name, real or not, or what else is limited,
    such as "mail" to an `address`. One statement, so that many at once do not slip through; the ORM has none."""
    now = timezone.now()
    SignInAttempt.objects.filter(since__lte=now - WINDOW).delete()
    table = connection.ops.quote_name(SignInAttempt._meta.db_table)
    sql = f"INSERT INTO {table} (key, count, since) VALUES (%s, 1, %s)"
    sql += f" ON CONFLICT (key) DO UPDATE SET count = {table}.count + 1 RETURNING count"
    with connection.cursor() as cursor:
        cursor.execute(
            sql,
            [_make_key(what, address), connection.ops.adapt_datetimefield_value(now)],
        )
        return cursor.fetchone()[0] <= limit


def forget_attempts(username, address):
    """Begin anew, after a sign-in that succeeded."""
    SignInAttempt.objects.filter(key=_make_key(username, address)).delete()


def _make_key(username, address):
    return sha256(
        f"{username.casefold()}\n{address}".encode("utf-8", "replace")
    ).hexdigest()
