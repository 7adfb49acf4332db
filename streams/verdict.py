"""Verdict: how a worker process ends when it cannot go on.

At once, with its reason as the last thing in the log. What is not in the journal is read again, so there is nothing to
tidy up; and a shutdown that waits for Faust's services could hang, or hide the reason behind their cancellations.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from schemas.errors import FreshetError

log = logging.getLogger(__name__)


def final(work: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Return `work`, an error of which ends the process: nothing a worker does may fail unnoticed.

    A `FreshetError` ends it with one plain line and its exit code, anything else with a traceback and `EX_SOFTWARE`.
    """

    @functools.wraps(work)
    async def until_it_fails(*args: Any, **kwargs: Any) -> None:
        try:
            await work(*args, **kwargs)
        except asyncio.CancelledError:
            raise
        except FreshetError as error:
            end(error)
        except Exception:
            log.exception("worker_failed: the process ends; what it had not made durable will be read again")
            _end(os.EX_SOFTWARE)

    return until_it_fails


def end(error: FreshetError) -> NoReturn:
    """End the process at once with a situation's plain line and exit code; from any thread."""
    print(f"freshet: {error}", file=sys.stderr)  # noqa: T201  # as the command line says it
    _end(error.exit_code)


def _end(code: int) -> NoReturn:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
