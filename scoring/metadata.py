"""Metadata: what an edge says about itself and the models it serves, in the Open Inference Protocol's form."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import msgspec

from schemas.features import Spec
from schemas.records import LearnedThrough
from scoring.profiles import Profiles
from scoring.session import Session, Tensor
from scoring.signature import signature_of


class ServerMetadata(msgspec.Struct, frozen=True):
    """What a server is called, and what it can beyond the protocol's core."""

    name: str
    version: str
    extensions: tuple[str, ...]


class ProfilesKnown(msgspec.Struct, frozen=True, rename="camel"):
    """How many visitors of a model the edge knows, and how far its copy of their profiles has come."""

    visitors: int
    as_of: int | None


class ModelMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """A model's metadata: up to `outputs` as the Open Inference Protocol has it, then what is freshet's own.

    Attributes:
        versions: those that can be asked now, ascending.
        version, learned_through: which release this is, and how far it had learned.
        spec: the features, in the order of the inputs' columns, and the outcome.
        profiles: what the edge knows of the model's visitors.
    """

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    version: int
    learned_through: LearnedThrough
    spec: Spec
    profiles: ProfilesKnown


def metadata(session: Session, versions: Sequence[int], profiles: Profiles) -> ModelMetadata:
    """Return the metadata of a loaded release; `versions` are those of its model that can be asked."""
    return ModelMetadata(
        name=session.model,
        versions=tuple(map(str, versions)),
        platform="onnx_onnxv1",
        inputs=session.inputs,
        outputs=signature_of(session).outputs,
        version=session.version,
        learned_through=session.learned_through,
        spec=session.spec,
        profiles=ProfilesKnown(profiles.visitors(session.model), profiles.as_of_ms(session.model)),
    )


@functools.cache
def server_metadata() -> ServerMetadata:
    """Return the metadata of this server.

    >>> server_metadata().name
    'freshet'
    """
    try:
        ours = version("freshet")
    except PackageNotFoundError:  # run from a checkout that nobody installed
        ours = "unknown"
    return ServerMetadata("freshet", ours, ("binary_tensor_data",))
