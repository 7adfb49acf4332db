"""Which data set to use: the one place that decides it, for every command."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from schemas.errors import DataUnavailable
from streams.datasets.cdnow import cdnow
from streams.datasets.dataset import Dataset
from streams.datasets.jsonl import jsonl
from streams.datasets.luma import fetched_luma, luma

_log = logging.getLogger(__name__)

_LUMA_IN_FOLDER = Path("luma") / "luma_events.parquet"
_INSTEAD = (
    "set FRESHET_DATA to a folder with luma/luma_events.parquet in it, or use --data FILE with a .jsonl of events"
)


def find_dataset(choice: str | None = None, say: Callable[[str], None] = _log.warning) -> Dataset:
    """Return the data set that `--data` names; without a name Luma, or CDNOW where Luma is not to be had.

    Luma is looked for in $FRESHET_DATA, then in the user's cache, then, for 5 seconds, in its public repository.

    Args:
        choice: "luma", "cdnow", or a path: a `.parquet` file of Luma's shape, a `.jsonl` or `.jsonl.gz` file of XED
            events, or a folder laid out as $FRESHET_DATA.
        say: is told, in one line, when something looked for is not there and the search goes on.

    Raises:
        DataUnavailable: what was named, or without a name anything, is not to be had; says what to do.
    """
    if choice == "luma":
        return _luma_or(say, f"{_INSTEAD}, or --data cdnow")
    if choice == "cdnow":
        return _cdnow()
    if choice is not None:
        return _at(Path(choice))
    try:
        return _luma_or(say, "CDNOW instead")
    except DataUnavailable as error:
        say(str(error))
        return _cdnow()


def _luma_or(say: Callable[[str], None], otherwise: str) -> Dataset:
    if named := os.environ.get("FRESHET_DATA"):
        file = Path(named) / _LUMA_IN_FOLDER
        if file.is_file():
            return luma(file)
        say(f"FRESHET_DATA={named} has no {_LUMA_IN_FOLDER.as_posix()}; looking elsewhere")
    try:
        return luma(fetched_luma())
    except DataUnavailable as error:
        raise DataUnavailable(f"Luma is not to be had, {error}: {otherwise}") from error


def _cdnow() -> Dataset:
    try:
        return cdnow()
    except DataUnavailable as error:
        raise DataUnavailable(f"CDNOW is not to be had, {error}: {_INSTEAD}") from error


def _at(path: Path) -> Dataset:
    if path.is_dir():
        file = path / _LUMA_IN_FOLDER
        if not file.is_file():
            raise DataUnavailable(f"{path} has no {_LUMA_IN_FOLDER.as_posix()}")
        return luma(file)
    if not path.is_file():
        raise DataUnavailable(f"there is no data set {path}; write luma, cdnow or the path of a file or folder")
    if path.suffix == ".parquet":
        return luma(path)
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return jsonl(path)
    raise DataUnavailable(f"{path}: a data set is a .parquet file of Luma's shape, a .jsonl or a .jsonl.gz file")
