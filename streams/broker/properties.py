"""Java properties: the settings of `server.properties`, shared by the embedded broker and docker-compose.yml."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources


def parse_properties(text: str) -> dict[str, str]:
    """Return the settings of plain `key=value` lines; # starts a comment line.

    >>> parse_properties("# why\\nnum.io.threads=4\\n")
    {'num.io.threads': '4'}
    """
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def render_properties(settings: Mapping[str, str]) -> str:
    r"""Return the settings as ASCII lines that Java reads back unchanged.

    >>> render_properties({"log.dirs": "/home/Zoë/kafka"})
    'log.dirs=/home/Zo\\u00eb/kafka\n'
    """
    return "".join(f"{key}={_escape(value)}\n" for key, value in settings.items())


def common_settings() -> dict[str, str]:
    """Return the settings of the package's `server.properties`: everything that is neither an address nor a path."""
    return parse_properties(resources.files("streams.broker").joinpath("server.properties").read_text(encoding="utf-8"))


def _escape(value: str) -> str:
    # Java reads property files as Latin-1 and takes a backslash for an escape; beyond ASCII it wants UTF-16 code units.
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)]
    return "".join(chr(code) if code < 0x80 else f"\\u{code:04x}" for code in codes)
