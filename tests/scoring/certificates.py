"""Certificates for tests, made by the `openssl` program when they are asked for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def certificate(directory: Path, name: str = "edge") -> tuple[Path, Path]:
    """Return the files of a self-signed certificate for 127.0.0.1 and of its key; skip where there is no openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here: it would have shown that an edge speaks TLS 1.2 and newer, and nothing else")
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    argv = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    argv += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(argv, check=True, capture_output=True, timeout=30)
    return cert, key
