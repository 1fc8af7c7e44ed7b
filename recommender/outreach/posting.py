"""Posts a signed message to an address that staff gave: to public hosts only, without following redirects."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from django.utils.translation import gettext as _

from recommender import conf
from recommender.exceptions import WebhookError

TIMEOUT_SECONDS = 10.0
"""For the whole exchange: a receiver is to answer first and work afterwards."""

MAX_URL_LENGTH = 500
NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""Addresses that a gateway translates to the IPv4 address in their last 32 bits (RFC 6052, section 2.1)."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a post. status: of the answer, None without one; fault: "" for a success, else a word that
    `webhooks.FAULTS` explains."""

    status: int | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to post: the name that a certificate must have, and the address that was found to be allowed."""

    scheme: str
    host: str
    port: int
    path: str
    address: str


def target_of(url: str) -> Target:
    """Resolve an address and check it. Raises WebhookError, with the repair, for one that must not be posted to.

    What is connected to is the address that was checked, so that a name which resolves otherwise a moment later does
    not lead inside.
    """
    parts, port = _parsed(url)
    host = str(parts.hostname)
    is_trusted = host in conf.get("WEBHOOK_PRIVATE_HOSTS")
    if parts.scheme != "https" and not (is_trusted and parts.scheme == "http"):
        raise WebhookError(_("The address must begin with https://."), fault="address")
    addresses = _resolved(host, port)
    if not is_trusted and any(is_inside(ipaddress.ip_address(address)) for address in addresses):
        message = _("%s is inside your network. Give a public host, or name it in WEBHOOK_PRIVATE_HOSTS.")
        raise WebhookError(message % host, fault="inside")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, path, addresses[0])


def is_inside(address: Address) -> bool:
    """Whether an address is not one of the public Internet; also where it only wraps such an IPv4 address."""
    if isinstance(address, ipaddress.IPv6Address):
        wrapped = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if wrapped is None and address in NAT64:
            wrapped = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_inside(wrapped)
    return not address.is_global or address.is_multicast or address.is_reserved


def signature_of(body: bytes, *, secret: str, timestamp: int) -> str:
    """HMAC-SHA256 (RFC 2104) of "timestamp.body" in hexadecimal digits: a message that is sent again later cannot be
    given a new time."""
    return hmac.new(secret.encode(), b"%d." % timestamp + body, hashlib.sha256).hexdigest()


def post(url: str, body: bytes, *, secret: str, delivery: str, timestamp: int) -> Answer:
    """Post JSON and read the status of the answer; never raises."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "shopreco",
        "Recommender-Delivery": delivery,
        "Recommender-Timestamp": str(timestamp),
        "Recommender-Signature": f"v1={signature_of(body, secret=secret, timestamp=timestamp)}",
    }
    try:
        status = _exchange(target_of(url), body, headers)
    except WebhookError as error:
        return Answer(None, error.fault)
    except ssl.SSLError:
        return Answer(None, "tls")
    except TimeoutError:
        return Answer(None, "timeout")
    except (OSError, http.client.HTTPException):
        return Answer(None, "connection")
    return Answer(status, _fault_of(status))


def _parsed(url: str) -> tuple[SplitResult, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise WebhookError(_("This is no address. Write https:// and a host."), fault="address") from error
    is_plain = url.isascii() and not any(sign.isspace() for sign in url) and len(url) <= MAX_URL_LENGTH
    if not parts.hostname or not is_plain:
        raise WebhookError(_("This is no address. Write https:// and a host."), fault="address")
    if parts.username or parts.password:
        raise WebhookError(_("Leave the user and the password out: the signature says who sends."), fault="address")
    return parts, port


def _resolved(host: str, port: int) -> list[str]:
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise WebhookError(_("The host %s cannot be found. Correct the address.") % host, fault="host") from error
    return [str(entry[4][0]).partition("%")[0] for entry in entries]


def _exchange(target: Target, body: bytes, headers: Mapping[str, str]) -> int:
    """Send and return the status. Raises what the socket and http.client raise, TimeoutError once the time is over."""
    connection = http.client.HTTPConnection(target.host, target.port, timeout=TIMEOUT_SECONDS)
    connection.default_port = 443 if target.scheme == "https" else 80
    is_over = threading.Event()
    connection.sock = _connected(target)
    timer = threading.Timer(TIMEOUT_SECONDS, _cut, (connection.sock, is_over))
    timer.daemon = True
    timer.start()
    try:
        if isinstance(connection.sock, ssl.SSLSocket):
            connection.sock.do_handshake()
        connection.request("POST", target.path, body=body, headers=dict(headers))
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        if is_over.is_set():
            raise TimeoutError from error
        raise
    finally:
        timer.cancel()
        connection.close()
    if is_over.is_set():  # the headers were cut off, which looks as if they were complete
        raise TimeoutError
    return status


def _connected(target: Target) -> socket.socket:
    """A connection to the address that was checked, its handshake still to be made."""
    plain = socket.create_connection((target.address, target.port), timeout=TIMEOUT_SECONDS)
    if target.scheme != "https":
        return plain
    context = ssl.create_default_context()
    return context.wrap_socket(plain, server_hostname=target.host, do_handshake_on_connect=False)


def _cut(connected: socket.socket, is_over: threading.Event) -> None:
    """End a connection on which a slow receiver sends a byte now and then."""
    is_over.set()
    with suppress(OSError):  # it has ended by itself
        connected.shutdown(socket.SHUT_RDWR)


def _fault_of(status: int) -> str:
    """Why an answer is no success: a word that `webhooks.FAULTS` explains."""
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return "redirect"
    return {401: "refused", 403: "refused", 404: "gone", 410: "gone", 413: "size", 429: "busy"}.get(
        status, "request" if status < 500 else "server"
    )
