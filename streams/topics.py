"""Topics: the one table of what travels where, and its creation.

Topics are made by admin client before any worker starts, never by the broker on first use: a worker that subscribes to
a topic whose metadata is still on its way sits idle for minutes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError

from schemas.errors import BrokerError

EVENTS: Final = "events"
SCORES: Final = "scores"
EXAMPLES: Final = "examples"
RELEASES: Final = "releases"
ALIASES: Final = "aliases"
PROFILES: Final = "profiles"
JOURNAL_SCORER: Final = "journal.scorer"
JOURNAL_LEARNER: Final = "journal.learner"
DEAD_LETTERS: Final = "dead-letters"
QUARANTINE: Final = "quarantine"

MIB: Final = 1024 * 1024
_DAY_MS: Final = 86_400_000
_COMPACTED: Final = {"cleanup.policy": "compact", "segment.ms": "600000", "min.cleanable.dirty.ratio": "0.2"}


@dataclass(frozen=True, slots=True)
class Topic:
    """One row of the table.

    Attributes:
        name: before any prefix.
        key: what the record key is.
        partitions: 0 is as many as `events` has.
        record_bytes: the largest record, for topic, producers and consumers alike.
        schema: what a value is.
        writer: who writes it.
        config: Kafka's topic settings.
    """

    name: str
    key: str
    partitions: int
    record_bytes: int
    schema: str
    writer: str
    config: dict[str, str]


TABLE: Final = (
    Topic(EVENTS, "visitor", 0, 8 * MIB, "XED JSON, its envelope, or Avro experience_event", "you", {}),
    Topic(SCORES, "visitor", 0, MIB, "score.avsc, as JSON", "scorer", {}),
    Topic(EXAMPLES, "model", 0, MIB, "example.avsc, as JSON", "scorer", {}),
    Topic(RELEASES, "model/version", 1, MIB, "release.avsc", "learner", _COMPACTED),
    Topic(ALIASES, "model/alias", 1, MIB, "alias.avsc", "learner", _COMPACTED),
    Topic(QUARANTINE, "model", 1, MIB, "quarantine.avsc", "learner", {}),
    Topic(PROFILES, "model/visitor", 0, MIB, "visitor_profile.avsc", "scorer", _COMPACTED),
    Topic(JOURNAL_SCORER, "model/partition", 0, 16 * MIB, "internal", "scorer", _COMPACTED),
    Topic(JOURNAL_LEARNER, "model", 0, 16 * MIB, "internal", "learner", _COMPACTED),
    Topic(DEAD_LETTERS, "as it was", 0, 9 * MIB, "original bytes; dead_letter.avsc with its headers", "workers", {}),
)
PARTITIONS: Final = 4
_MOST_REPLICAS: Final = 3


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the topics of one installation are: a broker, and a prefix so that several can share it.

    >>> Cluster("127.0.0.1:9092", prefix="shop.").topic("events")
    'shop.events'
    """

    bootstrap: str
    prefix: str = ""

    def topic(self, name: str) -> str:
        """Return the full name of a topic of the table."""
        return self.prefix + name


def group_of(cluster: Cluster, role: str, model: str) -> str:
    """Return the consumer group of a model's workers of a role.

    >>> group_of(Cluster("127.0.0.1:9092", prefix="shop."), "scorer", "clicks")
    'shop.freshet-scorer-clicks'
    """
    return f"{cluster.prefix}freshet-{role}-{model}"


async def create_topics(cluster: Cluster, partitions: int = PARTITIONS) -> list[str]:
    """Create the topics that are missing and wait until the broker lists them; return the created ones' names.

    Raises:
        BrokerError: no broker answers, or it refuses.
    """
    admin = await _admin(cluster.bootstrap)
    try:
        there = set(await admin.list_topics())
        missing = [topic for topic in TABLE if cluster.topic(topic.name) not in there]
        replicas = min(_MOST_REPLICAS, len((await admin.describe_cluster())["brokers"]))
        for topic in missing:
            await _create(admin, topic, cluster, topic.partitions or partitions, replicas)
        await _listed(admin, {cluster.topic(topic.name) for topic in TABLE})
        return [cluster.topic(topic.name) for topic in missing]
    except KafkaError as error:
        raise BrokerError(f"the broker at {cluster.bootstrap} did not create the topics: {error!r}") from None
    finally:
        await admin.close()


async def cluster_id(cluster: Cluster) -> str:
    """Return the name that the brokers have as a whole: another one's topics may have the same names.

    Raises:
        BrokerError: no broker answers.
    """
    admin = await _admin(cluster.bootstrap)
    try:
        return str((await admin.describe_cluster())["cluster_id"])
    except KafkaError as error:
        raise BrokerError(f"the broker at {cluster.bootstrap} does not say who it is: {error!r}") from None
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, topic: Topic, cluster: Cluster, partitions: int, replicas: int) -> None:
    config = topic.config | {"max.message.bytes": str(topic.record_bytes + MIB // 16)}
    new = NewTopic(cluster.topic(topic.name), partitions, replicas, topic_configs=config)
    try:
        await admin.create_topics([new])
    except TopicAlreadyExistsError:
        return  # somebody else was a moment faster: the same table, the same topic


async def missing_topics(cluster: Cluster) -> list[str]:
    """Return the topics of the table that the broker does not have.

    Raises:
        BrokerError: no broker answers.
    """
    admin = await _admin(cluster.bootstrap)
    try:
        there = set(await admin.list_topics())
    finally:
        await admin.close()
    return [cluster.topic(topic.name) for topic in TABLE if cluster.topic(topic.name) not in there]


async def require_topics(cluster: Cluster) -> None:
    """Return if all topics are there.

    Raises:
        BrokerError: some are missing, or no broker answers.
    """
    missing = await missing_topics(cluster)
    if missing:
        raise BrokerError(
            f"the broker at {cluster.bootstrap} lacks {', '.join(missing)}; run `freshet topics --create`"
        )


async def partitions_of(cluster: Cluster, topic: str) -> list[TopicPartition]:
    """Return the partitions of a topic of the table.

    Raises:
        BrokerError: no broker answers, or it does not have the topic.
    """
    admin = await _admin(cluster.bootstrap)
    try:
        described = (await admin.describe_topics([cluster.topic(topic)]))[0]
    finally:
        await admin.close()
    if not described["partitions"]:
        raise BrokerError(f"there is no topic {cluster.topic(topic)}; run `freshet topics --create`")
    return [TopicPartition(cluster.topic(topic), number) for number in range(len(described["partitions"]))]


async def _admin(bootstrap: str) -> AIOKafkaAdminClient:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
    except (KafkaError, OSError, ValueError) as error:
        await admin.close()
        raise BrokerError(
            f"no Kafka broker answers at {bootstrap}; set KAFKA_BOOTSTRAP, or run `freshet broker up`"
        ) from error
    return admin


async def _listed(admin: AIOKafkaAdminClient, wanted: set[str]) -> None:
    for _ in range(100):
        if wanted <= set(await admin.list_topics()):
            return
        await asyncio.sleep(0.1)
    raise BrokerError(f"the broker still does not list {', '.join(sorted(wanted))} 10 s after creating them")
