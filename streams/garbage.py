"""Garbage: when a worker looks for cycles among its objects.

Python's collector walks everything that is alive every time that enough has been added, and what a scorer holds by the
million (profiles, pendings, ids) has no cycles to be found: the more visitors, the longer those walks for nothing. So
what has lived through one collection is set aside for good, and each collection costs what was made since the last.
Reference counts free what is dropped all the same.
"""

from __future__ import annotations

import gc
from typing import Final

COLLECT_EVERY_S: Final = 10.0
# The young are looked at less often than by default, 700, since a chunk makes some thousands; the old never by itself.
_YOUNG: Final = 20_000
_NEVER: Final = 2**31 - 1


def leave_to_collect() -> None:
    """Leave to `collect` what Python does by itself for all but the youngest objects."""
    gc.set_threshold(_YOUNG, 20, _NEVER)


def collect() -> None:
    """Free the cycles made since the last time, and set aside what is alive."""
    gc.collect()
    gc.freeze()
