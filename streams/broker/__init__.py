"""A real Apache Kafka for one machine: found where one runs, started from pinned jars where none does."""

from streams.broker.embedded import EmbeddedBroker, stop_broker
from streams.broker.find import default_data_dir, find_bootstrap

__all__ = ["EmbeddedBroker", "default_data_dir", "find_bootstrap", "stop_broker"]
