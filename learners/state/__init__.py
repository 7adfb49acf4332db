"""Learner state as bytes: a canonical data format of a River object graph, with nothing to execute in it.

    bytes    = magic, format, length of payload, SHA-256 of payload, payload
    payload  = MessagePack of [River's version, shapes, objects, root]
    shape    = [module, class, attribute names in order]
    object   = [kind, ...]: whatever has an identity; everything else refers to it by its place in this list
    value    = scalar | [place of an object] | [kind, ...] of something immutable, written where it stands

    envelope.py                          the bytes around a payload
    writer.py, reader.py, forms.py       the kinds, there and back, and what both agree on
    names.py                             which classes and functions may be referred to
    functions.py                         functions of a model file: named, and taken from its definition when read
    instances.py                         which attributes are kept, and which estimators are refused
    arrays.py, generators.py, rust.py    objects that come apart into numbers

Equal learners give equal bytes, in any process. Attributes and members of sets have no order, so they are sorted; dicts
keep theirs, because River sums floats in the order of its dicts. Floats keep all bits. Objects that River shares (one
random generator in every tree of a forest) are one object again after reading.

Reading makes instances of River's own estimators, those of `learners.calibration` and a few builtins (`names.py`), and
sets their attributes. It calls no method of theirs, imports nothing outside the packages named there and follows no
attribute: what pickle would run, this cannot say. Why it is so: `docs/decisions/0006-learner-state-bytes.md`.
"""

from learners.state.reader import decode_state
from learners.state.writer import encode_state

__all__ = ["decode_state", "encode_state"]
