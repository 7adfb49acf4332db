"""Keys: the API keys of an edge's callers, of which it knows hashes only, and what each may ask.

A file has one key a line: `name scope[,scope…] sha256:<64 hexadecimal digits>`; empty lines and those that begin with
`#` say nothing. The hash is a fast one without a salt: slow and salted ones are for passwords, which can be guessed. A
key of 256 random bits cannot, and all they would do is cost a millisecond a request, and a flood of wrong ones a core
(so has it NIST SP 800-63B, 2017, §5.1.2.2, for secrets of 112 bits and more).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.errors import KeysUnreadable

INFER: Final = "infer"
METADATA: Final = "metadata"
ADMIN: Final = "admin"
SCOPES: Final = (INFER, METADATA, ADMIN)

_KEY_BYTES: Final = 32
# Found by scanners for leaked secrets, and by people in their own files.
_PREFIX: Final = "freshet_"
_LONGEST_KEY_BYTES: Final = 256
_line: Final = re.compile(r"([A-Za-z0-9._-]{1,64})\s+([a-z,]+)\s+sha256:([0-9a-f]{64})").fullmatch
_name: Final = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key; not the key.

    Attributes:
        name: whose it is.
        scopes: what it opens, of `SCOPES`.
        digest: SHA-256 of the key.
    """

    name: str
    scopes: frozenset[str]
    digest: bytes

    def line(self) -> str:
        """Return the key's line in a file of keys."""
        return f"{self.name} {','.join(each for each in SCOPES if each in self.scopes)} sha256:{self.digest.hex()}"


class Keys:
    """The keys of one file.

    >>> secret, key = new_key("shop", ["infer"])
    >>> keys = Keys([key])
    >>> keys.find(secret.encode()).name, keys.find(b"guess")
    ('shop', None)
    """

    def __init__(self, keys: Iterable[Key]) -> None:
        self._by_digest = {key.digest: key for key in keys}

    def __iter__(self) -> Iterator[Key]:
        return iter(self._by_digest.values())

    def __len__(self) -> int:
        return len(self._by_digest)

    @classmethod
    def read(cls, path: Path) -> Keys:
        """Return the keys of a file.

        Raises:
            KeysUnreadable: it cannot be read, holds none, or a line is something else than a key.
        """
        try:
            lines = path.read_text("utf-8").splitlines()
        except UnicodeDecodeError:
            raise KeysUnreadable(str(path), "is not a text file; make a line with freshet keys new") from None
        except OSError as error:
            raise KeysUnreadable(str(path), f"cannot be read: {error.strerror}") from None
        keys: dict[str, Key] = {}
        digests: set[bytes] = set()
        for number, line in enumerate(lines, 1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            key = _read(text, str(path), number)
            if key.name in keys or key.digest in digests:
                raise KeysUnreadable(str(path), "has a name or a key that an earlier line has", line=number)
            keys[key.name] = key
            digests.add(key.digest)
        if not keys:
            raise KeysUnreadable(str(path), "has no key in it; make a line with freshet keys new")
        return cls(keys.values())

    def find(self, secret: bytes) -> Key | None:
        """Return the key that `secret` is, None where it is none.

        How long it takes tells nothing of use. A look-up by digest may tell how much of the digest of a guess is that
        of a key; but whoever could make guesses with chosen digests could invert SHA-256. What is compared byte by byte
        is compared in constant time.
        """
        if len(secret) > _LONGEST_KEY_BYTES:
            return None
        digest = hashlib.sha256(secret).digest()
        key = self._by_digest.get(digest)
        return key if key is not None and hmac.compare_digest(key.digest, digest) else None


def _read(text: str, path: str, number: int) -> Key:
    match = _line(text)
    if match is None:
        raise KeysUnreadable(path, "is not `name scopes sha256:…`; make a line with freshet keys new", line=number)
    name, scopes, digest = match.groups()
    names = scopes.split(",")
    if not set(names) <= set(SCOPES):
        raise KeysUnreadable(path, f"has a scope that is none of {', '.join(SCOPES)}", line=number)
    return Key(name, frozenset(names), bytes.fromhex(digest))


def new_key(name: str, scopes: Iterable[str]) -> tuple[str, Key]:
    """Return a new key, which is to be told once and kept nowhere, and what is known of it.

    Raises:
        ValueError: the name has other characters than letters, digits, dot, dash and underscore, or a scope is none.
    """
    if _name(name) is None:
        raise ValueError("a name has 1 to 64 letters, digits, dots, dashes or underscores")
    chosen = frozenset(scopes)
    if not chosen or not chosen <= set(SCOPES):
        raise ValueError(f"a key has one or more of the scopes {', '.join(SCOPES)}")
    secret = _PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    return secret, Key(name, chosen, hashlib.sha256(secret.encode()).digest())
