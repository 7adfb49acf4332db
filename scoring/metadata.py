"""Metadata: what an edge says about a model it serves, in the Open Inference Protocol's form and beyond it."""

from __future__ import annotations

import msgspec

from schemas.features import Spec
from schemas.records import LearnedThrough
from scoring.profiles import Profiles
from scoring.session import Session, Tensor


class ProfilesKnown(msgspec.Struct, frozen=True, rename="camel"):
    """How many visitors of a model the edge knows, and how far its copy of their profiles has come."""

    visitors: int
    as_of: int | None


class ModelMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """A model's metadata: up to `outputs` as the Open Inference Protocol has it, then what is freshet's own.

    Attributes:
        versions: those that can be asked now: the live one.
        version, learned_through: which release answers, and how far it had learned.
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


def metadata(session: Session, profiles: Profiles) -> ModelMetadata:
    """Return the metadata of a loaded release."""
    return ModelMetadata(
        name=session.model,
        versions=(str(session.version),),
        platform="onnx_onnxv1",
        inputs=session.inputs,
        outputs=session.outputs,
        version=session.version,
        learned_through=session.learned_through,
        spec=session.spec,
        profiles=ProfilesKnown(profiles.visitors(session.model), profiles.as_of_ms(session.model)),
    )
