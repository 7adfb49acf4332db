"""What an edge's answer costs: the door, beside the same door in Starlette and beside an ASGI app that does nothing.

`python -m benchmarks.edge` starts each as a process of its own behind the same server (uvicorn, httptools, uvloop), and
asks them by turns, in random order, over one keep-alive connection and over 16 that send at the same moment, so that
whatever else the machine does meets all of them. The door is asked with events and, in a row of its own, with tensors
of the same `x`. Absolute figures are this machine's; the ratios travel. Starlette is no dependency: its row is there
where it is installed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
import psutil
import uvloop

from schemas.reader import Reader
from schemas.records import Example, Release, Source, VisitorProfile, decode, encode
from scoring.answer import answer
from scoring.door import Door, now_ms
from scoring.engine import Engine
from scoring.profiles import Profiles
from scoring.registry import Registry
from scoring.response import json_response
from scoring.server import Server, listen
from scoring.session import Session

MODEL = Path(__file__).parents[1] / "examples" / "purchase_propensity.py"
EVENTS = 500
LEARNED = 5_000
REQUESTS = 2_000
ROUNDS = 7
TOGETHER = 16
SWAP_EVERY_S = 0.2

BARE = "ASGI echo and one onnxruntime run"
DOOR = "the door"
SWAPPING = "the door, five swaps a second"
INFER = "the door, tensors in JSON"
STARLETTE = "the door's answer in Starlette"


def run(requests: int = REQUESTS, rounds: int = ROUNDS) -> dict[str, dict[str, float]]:
    """Print the table; return the medians by server: p50 and p99 in µs, CPU µs a request, and that of 16 together."""
    servers = [BARE, DOOR, SWAPPING, INFER]
    if importlib.util.find_spec("starlette"):
        servers.append(STARLETTE)
    with tempfile.TemporaryDirectory() as directory:
        events, tensors = _prepare(Path(directory))
        size = sum(map(len, events)) / len(events)
        click.echo(f"{rounds} rounds by turns, {requests} requests each, events of {size:.0f} bytes")
        figures: dict[str, dict[str, list[float]]] = {
            server: {"p50": [], "p99": [], "cpu": [], "together": []} for server in servers
        }
        with _running(servers, Path(directory)) as asked:
            turns = list(asked.items())
            for _ in range(rounds):
                random.shuffle(turns)
                for server, (process, port) in turns:
                    whole = _requests(_path(server), tensors if server == INFER else events)
                    taken = _measure(process, port, whole, requests)
                    taken["together"] = _measure_together(process, port, whole, requests)
                    for name, figure in taken.items():
                        figures[server][name].append(figure)
    medians = {server: {name: statistics.median(each) for name, each in by.items()} for server, by in figures.items()}
    click.echo(
        f"\n| server | p50 µs | p99 µs | CPU µs a request | beside bare | {TOGETHER} at once: CPU µs | beside bare |"
    )
    click.echo("|---|---|---|---|---|---|---|")
    for server, median in medians.items():
        one, together = (median[name] / medians[BARE][name] for name in ("cpu", "together"))
        click.echo(
            f"| {server} | {median['p50']:.0f} | {median['p99']:.0f} | {median['cpu']:.0f} | {one:.2f}× | "
            f"{median['together']:.0f} | {together:.2f}× |"
        )
    if STARLETTE not in medians:
        click.echo("\nfor the row of Starlette: pip install starlette")
    return medians


def _prepare(directory: Path) -> tuple[list[bytes], list[bytes]]:
    """Write a release that has learned, and the events to ask with; return those, and the tensors of their `x`."""
    from learners import load_model
    from learners.training import Training
    from streams.simulator import Simulator

    model = load_model(MODEL)
    training = Training(model)
    chance = random.Random(1)
    events: list[bytes] = []
    tensors: list[bytes] = []
    for number, (_, value) in enumerate(Simulator(seed=1, visitors=200).payloads(LEARNED)):
        event = model.reader.read(value, now_ms())
        numbers, categories = model.reader.named(model.reader.x(event, None))
        example = Example(
            id=f"{number}",
            model=model.spec.name,
            event=event.id,
            visitor=event.visitor,
            numbers=numbers,
            categories=categories,
            y=chance.random() < 0.1,
            score=0.5,
            version=0,
            event_time=event.time_ms,
            closed_at=event.time_ms,
            source=Source(partition=0, seq=number),
        )
        training.learn(number, example, None)
        if len(events) < EVENTS and event.kinds & 1:
            events.append(value)
            tensors.append(_inference(*model.reader.x(event, None)))
    (directory / "release").write_bytes(encode(training.candidate(0, 0)))
    (directory / "events").write_bytes(b"\n".join(events))
    return events, tensors


def _inference(numbers: tuple[float, ...], categories: tuple[str, ...]) -> bytes:
    inputs = [
        {"name": "numbers", "datatype": "FP64", "shape": [1, len(numbers)], "data": list(numbers)},
        {"name": "categories", "datatype": "BYTES", "shape": [1, len(categories)], "data": list(categories)},
    ]
    return msgspec.json.encode({"inputs": inputs})  # NaN becomes null, which is what is missing


def _path(server: str) -> str:
    return "/v2/models/purchase-propensity/infer" if server == INFER else "/v1/events"


@contextmanager
def _running(servers: list[str], directory: Path) -> Iterator[dict[str, tuple[psutil.Process, int]]]:
    children: list[subprocess.Popen[str]] = []
    asked: dict[str, tuple[psutil.Process, int]] = {}
    try:
        for server in servers:
            argv = [sys.executable, "-m", "benchmarks.edge", "--serve", server, "--directory", str(directory)]
            child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
            children.append(child)
            assert child.stdout is not None
            asked[server] = (psutil.Process(child.pid), int(child.stdout.readline()))
        yield asked
    finally:
        for child in children:
            child.terminate()
            child.wait(10)


def _requests(path: str, bodies: list[bytes]) -> list[bytes]:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: "
    return [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]


def _measure(process: psutil.Process, port: int, whole: list[bytes], requests: int) -> dict[str, float]:
    with _connected(port) as connection:
        for number in range(100):
            _ask(connection, whole[number])
        cpu_before = sum(process.cpu_times()[:2])
        took_ns = []
        for number in range(requests):
            request = whole[number % len(whole)]
            started = time.perf_counter_ns()
            _ask(connection, request)
            took_ns.append(time.perf_counter_ns() - started)
        cpu_s = sum(process.cpu_times()[:2]) - cpu_before
    took_ns.sort()
    return {
        "p50": took_ns[requests // 2] / 1000,
        "p99": took_ns[requests * 99 // 100] / 1000,
        "cpu": cpu_s / requests * 1e6,
    }


def _measure_together(process: psutil.Process, port: int, whole: list[bytes], requests: int) -> float:
    """Return the CPU µs a request of connections that all send, and then all wait for their answers."""
    with ExitStack() as stack:
        connections = [stack.enter_context(_connected(port)) for _ in range(TOGETHER)]
        cpu_before = sum(process.cpu_times()[:2])
        for number in range(0, requests, TOGETHER):
            for place, connection in enumerate(connections):
                connection.sendall(whole[(number + place) % len(whole)])
            for connection in connections:
                _take(connection)
        cpu_s = sum(process.cpu_times()[:2]) - cpu_before
    return cpu_s / requests * 1e6


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _ask(connection: socket.socket, request: bytes) -> None:
    connection.sendall(request)
    _take(connection)


def _take(connection: socket.socket) -> None:
    received = connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(received.decode())
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)


# --- the servers ------------------------------------------------------------------------------------------------------


def _serve(server: str, directory: Path) -> None:
    release = decode(Release, (directory / "release").read_bytes())
    session = Session(release)
    engine, profiles = Engine(), Profiles()
    engine.swap(session, now_ms())
    _remember(profiles, session.reader, (directory / "events").read_bytes().split(b"\n"))
    apps = {BARE: _bare, DOOR: _door, SWAPPING: _door, INFER: _door, STARLETTE: _starlette}
    listener = listen("127.0.0.1", 0)
    click.echo(listener.getsockname()[1])
    uvloop.run(_run(Server(apps[server](engine, profiles), listener), engine, release if server == SWAPPING else None))


async def _run(server: Server, engine: Engine, swapped: Release | None) -> None:
    async def swap() -> None:
        while swapped is not None:
            await asyncio.sleep(SWAP_EVERY_S)
            engine.swap(await asyncio.to_thread(Session, swapped), now_ms())

    swapping = asyncio.create_task(swap())
    await server.run_until_stopped()
    swapping.cancel()


def _remember(profiles: Profiles, reader: Reader, events: list[bytes]) -> None:
    known: dict[str, Any] = {}
    for value in events:
        event = reader.read(value, now_ms())
        known[event.visitor] = reader.remember(known.get(event.visitor), event.time_ms, event.kinds)
    model = reader.spec.name
    for visitor, profile in known.items():
        record = VisitorProfile(
            model=model, visitor=visitor, seen=profile.seen_ms, times=profile.times, last=profile.last
        )
        profiles.put(model, visitor, encode(record), now_ms())


def _door(engine: Engine, profiles: Profiles) -> Any:
    return Door(engine, Registry(), profiles)


def _bare(engine: Engine, _: Profiles) -> Any:
    session = engine.sessions()[0]
    row = ((1.0,) * len(session.spec.numbers), ("US",) * len(session.spec.categories))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        session.score([row])
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def _starlette(engine: Engine, profiles: Profiles) -> Any:
    starlette = importlib.import_module("starlette.applications")
    responses = importlib.import_module("starlette.responses")
    routing = importlib.import_module("starlette.routing")

    async def events(request: Any) -> Any:
        answered, _ = answer(await request.body(), engine.sessions(), profiles, now_ms())
        return responses.Response(json_response(answered).body, media_type="application/json")

    return starlette.Starlette(routes=[routing.Route("/v1/events", events, methods=["POST"])])


@click.command()
@click.option("--serve", type=click.Choice([BARE, DOOR, SWAPPING, INFER, STARLETTE]), hidden=True)
@click.option("--directory", type=click.Path(path_type=Path), hidden=True)
@click.option("--requests", default=REQUESTS, show_default=True)
@click.option("--rounds", default=ROUNDS, show_default=True)
def main(serve: str | None, directory: Path, requests: int, rounds: int) -> None:
    """Measure what an edge's answer costs."""
    if serve:
        _serve(serve, directory)
    else:
        run(requests, rounds)


if __name__ == "__main__":
    main()
