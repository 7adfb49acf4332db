"""State key: the secret that seals what workers keep in Kafka, so that nobody else's bytes pass for state."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Final

import platformdirs

from schemas.errors import StateUnreadable

VARIABLE: Final = "FRESHET_STATE_KEY"
SHORTEST: Final = 16


def state_key() -> bytes:
    """Return the secret: of $FRESHET_STATE_KEY, else of this user's key file, which is made on first use.

    Workers on several machines read each other's state, so there the variable has to be set, to one value.

    Raises:
        StateUnreadable: the variable's value is too short to be a secret, or the file cannot be read or made.
    """
    if named := os.environ.get("FRESHET_STATE_KEY", ""):
        if len(named) < SHORTEST:
            raise StateUnreadable(f"${VARIABLE} has fewer than {SHORTEST} characters; take `openssl rand -hex 32`")
        return hashlib.sha256(named.encode()).digest()
    path = key_file()
    try:
        return _read_or_make(path)
    except OSError as error:
        raise StateUnreadable(f"the key file {path}: {error.strerror}; set ${VARIABLE} instead") from None


def key_file() -> Path:
    """Return where the key is kept if the environment does not hold it."""
    return Path(platformdirs.user_data_dir("freshet")) / "state.key"


def _read_or_make(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    if not path.exists():
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
        try:
            os.link(draft, path)  # whole or not at all, and the first of two workers wins
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    secret = path.read_bytes()
    if len(secret) < SHORTEST:
        raise StateUnreadable(f"the key file {path} is damaged: it holds {len(secret)} bytes")
    return secret
