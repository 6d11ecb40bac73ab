"""Where a change comes from: a request with its ID and IP address, or a program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

# Internet providers assign a prefix of this many bits to each customer. The customer
# can choose the rest of the address freely.
IPV6_CUSTOMER_PREFIX = 64

# The audit log stores only this many bits of an address: enough to recognize a network,
# and too few to identify a device.
IPV4_KEPT_PREFIX = 24
IPV6_KEPT_PREFIX = 48

# The current request. It is only used to describe where a log entry comes from, never
# to decide what a person may do.
current_request: ContextVar[HttpRequest | None] = ContextVar(
    "current_request", default=None
)

# How changes are being made: IMPORT, UNDO, BULK_CHANGE, or COMMAND followed by the name
# of a command. Empty for all other changes, such as those that a person makes with a
# form. Like the request, it is only used in descriptions.
current_means: ContextVar[str] = ContextVar("current_means", default="")

IMPORT = "import"
UNDO = "undo"  # of an import
BULK_CHANGE = "bulk change"
COMMAND = "command "


@dataclass(frozen=True)
class Origin:
    """Where a change comes from. Both fields are empty outside of requests."""

    request_id: str
    network: str


def get_origin() -> Origin:
    """Return the origin of the current request."""
    request = current_request.get()
    if request is None:
        return Origin(request_id="", network="")
    request_id = getattr(request, "id", "")
    return Origin(request_id, shorten_address(find_address(request)))


@contextmanager
def by_means_of(means: str) -> Iterator[None]:
    """Set `current_means` while an import, a bulk change or a command makes changes."""
    token = current_means.set(means)
    try:
        yield
    finally:
        current_means.reset(token)


def run_after_response(function: Callable[[], None]) -> None:
    """Run a function after the response has been sent. Outside of requests, run it now.

    Use this for work whose duration would reveal something that the response itself
    does not reveal.
    """
    request = current_request.get()
    if request is None:
        function()
        return
    run_in_context = partial(copy_context().run, function)
    # RequestLogMiddleware passes these functions on to the response.
    request.__dict__.setdefault("after_response", []).append(run_in_context)


def find_address(request: HttpRequest) -> str:
    """Return the IP address of the person who sent the request.

    For IPv6, returns the customer's network, such as "2001:db8::/64". Text that is not
    an IP address is returned as it is, such as "" for a Unix socket.
    """
    address = _strip_port(_read_address(request))
    try:
        ip = ip_address(address)
        if isinstance(ip, IPv6Address):
            return _normalize_ipv6(ip)
    except ValueError:
        pass
    return address


def shorten_address(address: str) -> str:
    """Shorten an address from `find_address()` to its network, such as "192.0.2.0/24".

    Returns "" if it is not an IP address.
    """
    try:
        network = ip_network(address)
    except ValueError:
        return ""
    kept = IPV4_KEPT_PREFIX if network.version == 4 else IPV6_KEPT_PREFIX
    return str(network.supernet(new_prefix=kept))


def _read_address(request: HttpRequest) -> str:
    if settings.TRUST_PROXY:
        # The proxy appends the address from which it received the request. Everything
        # before the last address may be forged.
        forwarded = request.headers.get("X-Forwarded-For", "")
        last = forwarded.rpartition(",")[2].strip()
        if last:
            return last
    return request.META.get("REMOTE_ADDR", "")


def _strip_port(address: str) -> str:
    """Remove the port that some proxies add, and the brackets around IPv6."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    if address.count(":") == 1:
        return address.partition(":")[0]
    return address


def _normalize_ipv6(ip: IPv6Address) -> str:
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(IPv6Network(f"{ip}/{IPV6_CUSTOMER_PREFIX}", strict=False))
