"""Options of an edge that say who may ask it, and how much of it one caller may have."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from scoring.limits import Limits
from streams.access import Access

_FILE = click.Path(dir_okay=False, path_type=Path)
_COUNT = click.IntRange(min=1)
_SECONDS = click.FloatRange(min=0.1)
_DEFAULTS = Limits()


def limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of `Limits`, and `limits` as its argument."""

    @click.option(
        "--max-body", type=_COUNT, default=_DEFAULTS.body_bytes, show_default=True, help="Bytes of a request; 413."
    )
    @click.option(
        "--max-head", type=_COUNT, default=_DEFAULTS.head_bytes, show_default=True, help="Bytes of its headers; 431."
    )
    @click.option(
        "--request-timeout",
        type=_SECONDS,
        default=_DEFAULTS.request_s,
        show_default=True,
        help="Seconds from a request's first byte to its last.",
    )
    @click.option(
        "--idle-timeout",
        type=_SECONDS,
        default=_DEFAULTS.idle_s,
        show_default=True,
        help="Seconds that a connection may wait for its next request; longer than a load balancer's, if there is one.",
    )
    @click.option("--max-connections", type=_COUNT, help="At one moment; 503. [three quarters of `ulimit -n`]")
    @click.option("--max-connections-per-address", type=_COUNT, help="Of those. [three quarters]")
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        max_body: int,
        max_head: int,
        request_timeout: float,
        idle_timeout: float,
        max_connections: int | None,
        max_connections_per_address: int | None,
        **kwargs: Any,
    ) -> Any:
        limits = Limits(
            body_bytes=max_body,
            bodies_bytes=max(_DEFAULTS.bodies_bytes, 2 * max_body),
            head_bytes=max_head,
            request_s=request_timeout,
            idle_s=idle_timeout,
            connections=max_connections or _DEFAULTS.connections,
            connections_per_address=max_connections_per_address or 0,
        )
        return command(*args, limits=limits, **kwargs)

    return wrapped


def access_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of `Access`, and `access` as its argument."""

    @click.option("--keys", type=_FILE, help="API keys of its callers, see freshet keys; read again when it changes.")
    @click.option("--tls-cert", type=_FILE, help="PEM: certificate and chain. Connections are TLS 1.2 or newer.")
    @click.option("--tls-key", type=_FILE, help="PEM: the certificate's private key.")
    @click.option("--without-keys", is_flag=True, help="Let other machines ask without a key.")
    @click.option("--without-tls", is_flag=True, help="Let other machines ask unencrypted.")
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        keys: Path | None,
        tls_cert: Path | None,
        tls_key: Path | None,
        without_keys: bool,
        without_tls: bool,
        **kwargs: Any,
    ) -> Any:
        if (tls_cert is None) != (tls_key is None):
            raise click.UsageError("--tls-cert and --tls-key belong together: give both")
        if without_keys and keys is not None:
            raise click.UsageError("--keys and --without-keys say different things: give one")
        if without_tls and tls_cert is not None:
            raise click.UsageError("--tls-cert and --without-tls say different things: give one")
        access = Access(keys, tls_cert, tls_key, without_keys, without_tls)
        return command(*args, access=access, **kwargs)

    return wrapped
