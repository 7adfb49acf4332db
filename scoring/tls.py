"""TLS: the context that encrypts an edge's connections, from a certificate and its private key."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NoReturn

from schemas.errors import TlsUnusable


def tls_context(certificate: Path, private_key: Path) -> ssl.SSLContext:
    """Return a server's context: TLS 1.2 or newer, with the ciphers that Python's `ssl` holds for good.

    Args:
        certificate: a PEM file: the server's certificate, then those that lead from it to a root.
        private_key: the certificate's, a PEM file that is not encrypted.

    Raises:
        TlsUnusable: a file cannot be read, is something else, or they do not belong together.

    >>> tls_context(Path("no-such.pem"), Path("key.pem"))
    Traceback (most recent call last):
    schemas.errors.TlsUnusable: no-such.pem cannot be used for TLS: No such file or directory
    """
    # `ssl` names neither the file nor, where it is one's own doing, the reason.
    if b"-----BEGIN CERTIFICATE-----" not in _read(certificate):
        raise TlsUnusable(str(certificate), "it has no certificate in PEM")
    key = _read(private_key)
    if b"PRIVATE KEY-----" not in key:
        raise TlsUnusable(str(private_key), "it has no private key in PEM")
    if b"ENCRYPTED" in key:
        raise TlsUnusable(str(private_key), "it is encrypted, and there is nobody to ask for its password; decrypt it")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, private_key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsUnusable(str(private_key), f"it is not the key of {certificate}") from None
        raise TlsUnusable(f"{certificate} or {private_key}", _words(error)) from None
    return context


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsUnusable(str(path), error.strerror or "it cannot be read") from None


def _no_password() -> NoReturn:
    raise ssl.SSLError("the key is encrypted")  # else OpenSSL would ask the terminal


def _words(error: ssl.SSLError) -> str:
    return (error.reason or "it is damaged").replace("_", " ").lower()
