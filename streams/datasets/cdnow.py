"""CDNOW: the 69,659 purchases of 23,570 customers of a music shop, from their first in early 1997 to June 1998.

Fader & Hardie published it with "Forecasting Repeat Sales at CDNOW: A Case Study Using Multi-Year Data", Interfaces
31(3), 2001; it is the data set that customer-base models are compared on. A row has a customer, a day, the number of
CDs and the dollars paid. Here it comes out of the Lifetimes package, which is downloaded and never imported.
"""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from schemas.errors import DataUnavailable
from streams.datasets.cache import cache_dir, holds, keep
from streams.datasets.dataset import BUYS_AGAIN, Dataset, Event

REQUIREMENT: Final = "Lifetimes==0.11.3"
SHA256: Final = "261e3dc89977c2b60767ca6728aaa29d429de0c814635070a749c36555895da8"
COUNT: Final = 69_659

_WHEEL = "Lifetimes-0.11.3-py3-none-any.whl"
_MEMBER = "lifetimes/datasets/CDNOW_master.txt"
_PIP_WITHIN_S = 60
_DAY_S = 86_400
# The seconds of a day divided by the golden ratio, and coprime to them: consecutive rows land far apart, the rows of
# a day fill it evenly, and no two of them share a second.
_SCATTER_S = 53_399


def cdnow() -> Dataset:
    """Return the data set, after downloading it with pip if it is not in the user's cache yet.

    Raises:
        DataUnavailable: it is neither there nor to be had from the package index that pip is set up for.
    """
    wheel = cache_dir() / _WHEEL
    if not holds(wheel, SHA256):
        keep(wheel, _downloaded(), SHA256)
    return Dataset(
        name="cdnow",
        licence="MIT (Lifetimes, which it is taken from); its authors published it for research and state none",
        origin=f"Fader & Hardie 2001, by way of {REQUIREMENT}",
        count=COUNT,
        model_path=BUYS_AGAIN,
        read=lambda: _events(wheel),
    )


class Purchase(NamedTuple):
    """One row: times are seconds since 1970, and the second of the day is invented."""

    time_s: int
    row: int
    customer: str
    cds: int
    dollars: float


def purchases(text: str) -> list[Purchase]:
    """Return the purchases in the text of CDNOW_master.txt, in time order.

    The record knows the day only. The second of the day is a function of the row, so that it is the same in every
    run; it says nothing, and neither does the order of two purchases of a customer on one day.

    >>> purchases("customer_id date number_of_cds dollar_value\\r\\n 00001 19970101  1   11.77\\r\\n")
    [Purchase(time_s=852130199, row=1, customer='00001', cds=1, dollars=11.77)]
    """
    found = []
    for row, line in enumerate(text.splitlines()[1:], start=1):
        customer, day, cds, dollars = line.split()
        midnight_s = (dt.date(int(day[:4]), int(day[4:6]), int(day[6:])).toordinal() - _EPOCH_DAY) * _DAY_S
        found.append(Purchase(midnight_s + row * _SCATTER_S % _DAY_S, row, customer, int(cds), float(dollars)))
    return sorted(found)


_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()


def purchase_event(purchase: Purchase) -> Event:
    """Return a purchase as an XED event.

    >>> event = purchase_event(Purchase(852130199, 1, "00001", 1, 11.77))
    >>> event["_id"], event["timestamp"], event["commerce"]["order"]["priceTotal"]
    ('cdnow-1', '1997-01-01T14:49:59Z', 11.77)
    """
    time = dt.datetime.fromtimestamp(purchase.time_s, dt.UTC)
    return {
        "_id": f"cdnow-{purchase.row}",
        "timestamp": time.isoformat().replace("+00:00", "Z"),
        "eventType": "commerce.purchases",
        "identityMap": {"CRMID": [{"id": purchase.customer, "primary": True}]},
        "commerce": {
            "purchases": {"value": 1.0},
            "order": {"priceTotal": purchase.dollars, "currencyCode": "USD"},
        },
        # XDM asks for a SKU of every item; the record knows only how many CDs there were.
        "productListItems": [{"SKU": "CD", "quantity": purchase.cds, "priceTotal": purchase.dollars}],
    }


def _events(wheel: Path) -> Iterator[Event]:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(_MEMBER).decode("ascii")
    return map(purchase_event, purchases(text))


def _downloaded() -> bytes:
    """Return the wheel's bytes, from the index, mirror or proxy that pip is set up for."""
    with tempfile.TemporaryDirectory(prefix="freshet-cdnow-") as folder:
        # Only a requirements file can carry the hash.
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{REQUIREMENT} --hash=sha256:{SHA256}\n", encoding="ascii")
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--timeout=10", "--retries=1")
        ask = ("download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes")
        try:
            subprocess.run(
                [*pip, *ask, "--requirement", str(requirements), "--dest", folder],
                check=True,
                capture_output=True,
                text=True,
                timeout=_PIP_WITHIN_S,
            )
            return (Path(folder) / _WHEEL).read_bytes()
        except subprocess.CalledProcessError as error:
            said = error.stderr.strip().splitlines() or ["nothing"]
            raise DataUnavailable(f"pip cannot download {REQUIREMENT}, which holds CDNOW: {said[-1]}") from error
        except subprocess.TimeoutExpired as error:
            raise DataUnavailable(f"pip did not download {REQUIREMENT} within {_PIP_WITHIN_S} s") from error
        except OSError as error:
            raise DataUnavailable(f"pip did not leave {_WHEEL} where it was asked to: {error}") from error
