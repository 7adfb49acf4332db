"""API keys: who is let in, to what, what is told to the others, and what a file of keys may hold."""

from __future__ import annotations

import hashlib
import statistics
import time
from pathlib import Path

import pytest

from schemas.errors import KeysUnreadable, TooOpen
from scoring.admin import Admin
from scoring.door import Door
from scoring.engine import Engine
from scoring.exposure import check_exposure, is_loopback
from scoring.keyed_door import KeyedDoor, scope_needed
from scoring.keys import ADMIN, INFER, METADATA, SCOPES, Keys, new_key
from scoring.loader import Loader
from scoring.profiles import Profiles
from scoring.registry import Registry
from scoring.repository import Repository
from scoring.session import Session
from tests.scoring.artifacts import release
from tests.scoring.asgi import Reply, call

SECRETS = {scope: new_key(f"{scope}-only", [scope]) for scope in SCOPES}
GONE, _ = new_key("gone", SCOPES)
ROUTES = [
    ("GET", "/v2/health/live", None),
    ("GET", "/v2/health/ready", None),
    ("HEAD", "/v2/health/live", None),
    ("GET", "/v2", METADATA),
    ("GET", "/", METADATA),
    ("GET", "/metrics", METADATA),
    ("GET", "/v2/models/m", METADATA),
    ("GET", "/v2/models/m/ready", METADATA),
    ("GET", "/v2/models/m/versions/3", METADATA),
    ("GET", "/no/such/path", METADATA),
    ("DELETE", "/v2/models/m", METADATA),
    ("GET", "/v2/health/live/../../models/m", METADATA),
    ("POST", "/v1/events", INFER),
    ("POST", "/v2/models/m/infer", INFER),
    ("POST", "/v2/models/m/versions/3/infer", INFER),
    ("POST", "/no/such/path", INFER),
    ("POST", "/v2/repository/index", ADMIN),
    ("POST", "/v2/repository/models/m/load", ADMIN),
    ("GET", "/v2/repository/index", ADMIN),
]


@pytest.fixture(scope="module")
def guard() -> KeyedDoor:
    engine, registry = Engine(), Registry()
    engine.swap(Session(release(3)), now_ms=0)
    repository = Repository(engine, registry, Loader(registry, engine))
    return KeyedDoor(Admin(repository, Door(engine, registry, Profiles())), Keys(key for _, key in SECRETS.values()))


def ask(guard: KeyedDoor, method: str, path: str, **headers: str) -> Reply:
    reply = call(guard, method, path, b"{}", headers | {"Host": "localhost"})
    assert reply is not None
    return reply


@pytest.mark.parametrize(("method", "path", "needed"), ROUTES)
def test_each_route_opens_to_its_scope_alone(guard: KeyedDoor, method: str, path: str, needed: str | None) -> None:
    """No key, a wrong one, one that is no longer there, one for each scope: 401, 403, or whatever the door says."""
    told = {"": ask(guard, method, path).status}
    for name, secret in {
        "wrong": "x",
        "gone": GONE,
        **{scope: secret for scope, (secret, _) in SECRETS.items()},
    }.items():
        told[name] = ask(guard, method, path, Authorization=f"Bearer {secret}").status

    assert needed == scope_needed(method, path)
    assert [told[name] in {401, 403} for name in ("", "wrong", "gone")] == [needed is not None] * 3
    for scope in SCOPES:
        assert (told[scope] == 403) == (needed not in {None, scope})
        assert told[scope] != 401


def test_what_a_stranger_is_told(guard: KeyedDoor) -> None:
    """How to send a key, in the words of RFC 6750, and nothing else; also where there is no such model or path."""
    replies = [ask(guard, "GET", path) for path in ("/v2/models/m", "/v2/models/other", "/nothing")]
    wrong = ask(guard, "GET", "/v2", Authorization="Bearer guess")
    lacking = ask(guard, "GET", "/v2", Authorization=f"Bearer {SECRETS[INFER][0]}")

    assert {reply.headers["www-authenticate"] for reply in replies} == {'Bearer realm="freshet"'}
    assert {reply.json["type"] for reply in replies} == {"urn:freshet:problem:no-key"}
    assert len({reply.json["detail"] for reply in replies}) == 1
    assert wrong.status == 401
    assert wrong.headers["www-authenticate"].endswith('error="invalid_token"')
    assert lacking.status == 403
    assert lacking.json["detail"] == "the API key lacks the scope 'metadata'; use one that has it"
    assert b"infer-only" not in wrong.body + lacking.body


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("Authorization", "Bearer {}", 200),
        ("authorization", "bearer  {} ", 200),
        ("X-API-Key", "{}", 200),
        ("x-api-key", "{}x", 401),
        ("Authorization", "{}", 401),
        ("Authorization", "Basic {}", 401),
        ("Authorization", "Bearer ", 401),
        ("Authorization", "Bearer " + "x" * 10_000, 401),
        ("Authorization", "Bearer \xff\x80", 401),
    ],
)
def test_where_a_key_stands(guard: KeyedDoor, name: str, value: str, status: int) -> None:
    """In one of two headers, as it is."""
    secret = SECRETS[METADATA][0]

    assert ask(guard, "GET", "/v2", **{name: value.format(secret)}).status == status


def test_an_unread_body_is_not_waited_for(guard: KeyedDoor) -> None:
    """A stranger's body is not read before the 401; who waits for a 100 Continue is told that this was all."""
    reply = call(guard, "POST", "/v1/events", [b"x"] * 3, {"Expect": "100-continue"})

    assert reply is not None
    assert (reply.status, reply.pieces_taken) == (401, 0)
    assert reply.headers["connection"] == "close"


def test_other_keys_hold_from_the_next_request_on() -> None:
    """A key that is taken away opens nothing any more."""
    (old, old_key), (new, key) = new_key("shop", [METADATA]), new_key("shop", [METADATA])
    guard = KeyedDoor(Door(Engine(), Registry(), Profiles()), Keys([old_key]))
    before = [ask(guard, "GET", "/v2", Authorization=f"Bearer {secret}").status for secret in (old, new)]

    guard.renew(Keys([key]))

    after = [ask(guard, "GET", "/v2", Authorization=f"Bearer {secret}").status for secret in (old, new)]
    assert (before, after) == ([200, 401], [401, 200])


def test_time_tells_nothing_of_a_key() -> None:
    """A guess that shares all but the last character with a key takes as long as one that shares none."""
    secret, key = new_key("shop", [INFER])
    keys = Keys([key, *(new_key(f"k{number}", [INFER])[1] for number in range(50))])
    near, far = secret[:-1].encode() + b"!", b"!" * len(secret)
    took: dict[bytes, list[int]] = {near: [], far: []}
    for _ in range(300):
        for guess, times in took.items():
            started = time.perf_counter_ns()
            for _ in range(20):
                keys.find(guess)
            times.append(time.perf_counter_ns() - started)

    ratio = statistics.median(took[near]) / statistics.median(took[far])
    assert 0.8 < ratio < 1.25


def test_a_key_is_random_and_kept_as_a_hash() -> None:
    """256 bits, different each time; what is written down is SHA-256 of it."""
    made = [new_key("shop", ["metadata", "infer"]) for _ in range(100)]
    secret, key = made[0]

    assert len({secret for secret, _ in made}) == 100
    assert len(secret.removeprefix("freshet_")) >= 43
    assert key.line() == f"shop infer,metadata sha256:{hashlib.sha256(secret.encode()).hexdigest()}"
    assert secret not in repr(key) + key.line()


def test_a_file_of_keys_is_read_as_it_was_written(tmp_path: Path) -> None:
    """With comments, empty lines, spaces and lines that end as on other systems."""
    file = tmp_path / "keys.txt"
    (one, first), (two, second) = new_key("shop", [INFER]), new_key("ops.1", SCOPES)
    file.write_bytes(f"# callers\r\n\r\n  {first.line()}  \r\n{second.line()}".encode())

    keys = Keys.read(file)

    assert (keys.find(one.encode()), keys.find(two.encode()), len(keys)) == (first, second, 2)


HASH = "ab" * 32
FAULTS = {
    "empty": ("", "has no key"),
    "comments only": ("# nothing\n", "has no key"),
    "no hash": ("shop infer\n", ":1: is not `name scopes sha256:"),
    "the key itself": ("shop infer freshet_0123456789\n", ":1: is not `name scopes sha256:"),
    "another hash": (f"shop infer md5:{HASH}\n", ":1: is not"),
    "a short hash": (f"shop infer sha256:{HASH[:-1]}\n", ":1: is not"),
    "unknown scope": (
        f"# one\nshop infer,all sha256:{HASH}\n",
        ":2: has a scope that is none of infer, metadata, admin",
    ),
    "no scope": (f"shop , sha256:{HASH}\n", ":1: has a scope"),
    "name twice": (f"shop infer sha256:{HASH}\nshop admin sha256:{'cd' * 32}\n", ":2: has a name or a key that"),
    "key twice": (f"shop infer sha256:{HASH}\nother admin sha256:{HASH}\n", ":2: has a name or a key that"),
    "not text": (b"\xff\xfe\x00", "is not a text file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_file_is_named_by_its_line(tmp_path: Path, fault: str) -> None:
    """One plain error, which does not repeat what stands there: that may be a key."""
    content, expected = FAULTS[fault]
    file = tmp_path / "keys.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(KeysUnreadable) as raised:
        Keys.read(file)

    assert expected in str(raised.value)
    assert "0123456789" not in str(raised.value)
    assert HASH not in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Lacking, or a directory."""
    with pytest.raises(KeysUnreadable, match=r"none\.txt: cannot be read: No such file"):
        Keys.read(tmp_path / "none.txt")
    with pytest.raises(KeysUnreadable, match="cannot be read: Is a directory"):
        Keys.read(tmp_path)


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "ü", "a\n"])
def test_a_name_that_would_break_the_file_is_refused(name: str) -> None:
    """Before a key is made."""
    with pytest.raises(ValueError, match="1 to 64 letters"):
        new_key(name, [INFER])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_nothing(host: str) -> None:
    """Neither keys nor TLS."""
    check_exposure(host, keys=False, tls=False)

    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "no.such.host.invalid"])
def test_beyond_loopback_both_are_needed(host: str) -> None:
    """Or to be waived one by one; the error names the options for what is lacking, and no others."""
    check_exposure(host, keys=True, tls=True)
    with pytest.raises(TooOpen) as none:
        check_exposure(host, keys=False, tls=False)
    with pytest.raises(TooOpen) as no_tls:
        check_exposure(host, keys=True, tls=False)

    assert all(option in str(none.value) for option in ("--keys", "--tls-cert", "--without-keys", "--without-tls"))
    assert "--without-tls" in str(no_tls.value)
    assert "keys" not in str(no_tls.value)
