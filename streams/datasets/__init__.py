"""Recorded data sets as streams of XDM events, found on disk or fetched once."""

from streams.datasets.dataset import Dataset
from streams.datasets.find import find_dataset

__all__ = ["Dataset", "find_dataset"]
