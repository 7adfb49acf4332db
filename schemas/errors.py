"""Errors are situations, with data.

FreshetError                  anything a user of freshet can be told about
├── Poison                    a record that can never be processed; goes to `dead-letters` with its original bytes
│   └── EventInvalid          ... because a field of the event is missing, mistyped or absurd
├── ModelFileError            the model file is wrong; says file, line and what to write instead
│   ├── NotExportable         ... because an estimator has no exact ONNX form
│   └── NotStorable           ... because an estimator holds something that the journal has no form for
├── SchemaUnknown             bytes written with an Avro schema that the catalog does not hold
├── ReleaseRefused            a candidate that must not be served; says which check failed
├── NoModel                   asked for a score before any release was loaded
├── StateUnreadable           a journal record that is truncated, forged or of another model
├── BrokerError               Kafka cannot be started, reached or used as asked
├── StoreError                the object store cannot be reached or used as asked
├── Stalled                   a worker that has work and does not get on; its supervisor starts it again
├── PortTaken                 an edge or a worker cannot listen where it was told to
├── SpillTaken                another edge has the directory in which an edge was to keep events for Kafka
├── KeysUnreadable            the file of API keys cannot be used; says which line, and never what stands there
├── TlsUnusable               an edge's certificate or private key cannot be used
├── TooOpen                   an edge was to listen beyond this machine without keys or TLS, and nobody said so
├── ProcessFailed             a child process that cannot be started; carries its last log lines
└── DataUnavailable           a data set is neither on disk nor to be had from the network
"""

from __future__ import annotations


class FreshetError(Exception):
    """Anything a user of freshet can be told about: the message says what to do next.

    Attributes:
        exit_code: of a process that ends with it. 78 (EX_CONFIG) says that starting it again changes nothing.
    """

    exit_code = 1


class Poison(FreshetError):
    """A record that can never be processed, however often it is read again.

    Args:
        stage: where it failed, one of decode, validate, learn.
        reason: one sentence that names the field.
    """

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(f"{stage}: {reason}")
        self.stage = stage
        self.reason = reason


class EventInvalid(Poison):
    """A field of an event is missing, has the wrong type or an absurd value.

    >>> EventInvalid("timestamp", "has no time zone").reason
    'timestamp has no time zone'
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__("validate", f"{field} {problem}")
        self.field = field
        self.problem = problem


class ModelFileError(FreshetError):
    """The model file cannot be used; carries where, and what to write instead."""

    exit_code = 78

    def __init__(self, problem: str, *, path: str = "", line: int = 0) -> None:
        where = f"{path}:{line}: " if line else f"{path}: " if path else ""
        super().__init__(where + problem)
        self.problem = problem
        self.path = path
        self.line = line


class NotExportable(ModelFileError):
    """An estimator that has no exact ONNX form.

    Args:
        estimator: the class, by its full name.
        step: where it stands in the pipeline.
        reason: why it has no exact form.
        instead: what to use instead.
    """

    def __init__(self, estimator: str, step: str, reason: str, instead: str) -> None:
        super().__init__(f"{estimator} (at {step}) cannot be exported to ONNX: {reason}. Use {instead} instead.")
        self.estimator = estimator
        self.step = step
        self.reason = reason
        self.instead = instead


class NotStorable(ModelFileError):
    """A learner holds something that has no form in the journal: a function, an iterator, an open file.

    Args:
        attribute: class and attribute that hold it.
        found: the class of what was found there.
        reason: what is wrong with it.
    """

    def __init__(self, attribute: str, found: str, reason: str) -> None:
        super().__init__(f"{attribute} holds a {found}, which cannot be written to the journal: {reason}")
        self.attribute = attribute
        self.found = found
        self.reason = reason


class SchemaUnknown(FreshetError):
    """Bytes carry the fingerprint of a schema that the catalog does not hold."""

    def __init__(self, fingerprint: str) -> None:
        super().__init__(f"no schema in the catalog has the fingerprint {fingerprint}")
        self.fingerprint = fingerprint


class ReleaseRefused(FreshetError):
    """A candidate failed a check between export and release; the live version stays."""

    def __init__(self, check: str, reason: str) -> None:
        super().__init__(f"{check}: {reason}")
        self.check = check
        self.reason = reason


class NoModel(FreshetError):
    """No release of the model has been loaded yet."""

    def __init__(self, model: str) -> None:
        super().__init__(f"no release of {model} is loaded yet; is `freshet worker learner` running?")
        self.model = model


class StateUnreadable(FreshetError):
    """A journal record is truncated, forged or belongs to another model."""

    exit_code = 78


class BrokerError(FreshetError):
    """Kafka cannot be started, reached or used as asked."""


class StoreError(FreshetError):
    """The object store cannot be reached or used as asked."""


class Stalled(FreshetError):
    """A worker has work and does not get on with it; 75 (EX_TEMPFAIL) says that starting it again may help.

    >>> str(Stalled("events/0 ends at 900, handled up to 512", 300.4))
    'no progress for 300 s: events/0 ends at 900, handled up to 512'
    """

    exit_code = 75

    def __init__(self, what: str, lasted_s: float) -> None:
        super().__init__(f"no progress for {lasted_s:.0f} s: {what}")
        self.what = what
        self.lasted_s = lasted_s


class PortTaken(FreshetError):
    """An edge or a worker cannot listen where it was told to.

    >>> str(PortTaken("127.0.0.1", 8080, "Address already in use"))
    'cannot listen on 127.0.0.1 port 8080: Address already in use; choose another with --port'
    """

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"cannot listen on {host} port {port}: {reason}; choose another with --port")
        self.host = host
        self.port = port
        self.reason = reason


class SpillTaken(FreshetError):
    """Another process has the directory in which an edge was to keep its events until Kafka has them.

    >>> str(SpillTaken("spill/8080"))
    'another edge has spill/8080 for its events; give each edge a directory of its own with --spill-dir'
    """

    def __init__(self, directory: str) -> None:
        super().__init__(
            f"another edge has {directory} for its events; give each edge a directory of its own with --spill-dir"
        )
        self.directory = directory


class KeysUnreadable(FreshetError):
    """The file of API keys cannot be used. What stands in it is not told: it may be a key where a hash should be.

    >>> str(KeysUnreadable("keys.txt", "has no scope that there is", line=3))
    'keys.txt:3: has no scope that there is'
    """

    exit_code = 78

    def __init__(self, path: str, problem: str, *, line: int = 0) -> None:
        super().__init__(f"{path}:{line}: {problem}" if line else f"{path}: {problem}")
        self.path = path
        self.line = line
        self.problem = problem


class TlsUnusable(FreshetError):
    """A certificate or its private key cannot be used.

    >>> str(TlsUnusable("cert.pem", "No such file or directory"))
    'cert.pem cannot be used for TLS: No such file or directory'
    """

    exit_code = 78

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} cannot be used for TLS: {reason}")
        self.path = path
        self.reason = reason


class TooOpen(FreshetError):
    """An edge was to listen where other machines reach it, without what keeps strangers out or secrets in.

    Args:
        host: where.
        lacking: what there is not, and for each the option that gives it and the one that does without.
    """

    exit_code = 78

    def __init__(self, host: str, lacking: tuple[tuple[str, str, str], ...]) -> None:
        what = " and ".join(f"no {name}" for name, _, _ in lacking)
        give = " and ".join(option for _, option, _ in lacking)
        without = " ".join(option for _, _, option in lacking)
        super().__init__(
            f"{host} is reached from other machines, with {what}: give {give}, listen on 127.0.0.1, or say {without}"
        )
        self.host = host
        self.lacking = lacking


class ProcessFailed(FreshetError):
    """A child process cannot be started, however often it is tried.

    >>> str(ProcessFailed("edge", 1, ("port 8080 is taken",)))
    'edge cannot be started: exit code 1, its last lines:\\n  port 8080 is taken'
    """

    def __init__(self, name: str, exit_code: int, last_lines: tuple[str, ...]) -> None:
        said = "".join(f"\n  {line}" for line in last_lines) or " none"
        super().__init__(f"{name} cannot be started: exit code {exit_code}, its last lines:{said}")
        self.name = name
        self.exit_code = exit_code
        self.last_lines = last_lines


class DataUnavailable(FreshetError):
    """A data set is neither on disk nor to be had from the network."""
