"""Exposure: whether other machines reach an address, and what has to be there if they do."""

from __future__ import annotations

import ipaddress
import socket

from schemas.errors import TooOpen


def is_loopback(host: str) -> bool:
    """Return whether an address or a name is this machine alone; a name that nobody knows is not.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0"), is_loopback("")
    (True, True, False, False)
    """
    if not host:
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def check_exposure(host: str, *, keys: bool, tls: bool) -> None:
    """Return if an edge may listen on `host`.

    Args:
        host: an address or a name.
        keys: callers need API keys, or somebody has said that they do not.
        tls: connections are encrypted, or somebody has said that they are not.

    Raises:
        TooOpen: other machines reach it, and something is lacking.

    >>> check_exposure("0.0.0.0", keys=True, tls=False)
    Traceback (most recent call last):
    schemas.errors.TooOpen: 0.0.0.0 is reached from other machines, with no TLS: give --tls-cert and --tls-key,
    listen on 127.0.0.1, or say --without-tls
    """
    lacking = []
    if not keys:
        lacking.append(("API keys", "--keys", "--without-keys"))
    if not tls:
        lacking.append(("TLS", "--tls-cert and --tls-key", "--without-tls"))
    if lacking and not is_loopback(host):
        raise TooOpen(host, tuple(lacking))
