"""Fuzzing: bytes from outside must end in a value or an error of ours, quickly. No crash, no hang.

    python -m tests.fuzz config --seconds 60        (also: card, sums, command, spool, starts)

With atheris installed (pip install atheris) the search is guided by coverage; without it inputs are mutated blindly.
Exit 1, and the input in crash-<target>.bin, when something else than an error of ours comes out.
"""

import argparse
import gc
import json
import math
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

import click

from agent.config.file import load
from agent.config.text import commented
from agent.delivery.commands import Desk
from agent.delivery.disk import DiskSpool
from agent.delivery.link import Received
from agent.delivery.payload import Speaker
from agent.delivery.topics import Topics
from agent.delivery.wire_commands import COMMANDS
from agent.device.crashes import Starts
from agent.errors import FerAgentError
from agent.vision.card import Card
from agent.vision.model_card import Bundle

SLOWEST_S = 5
"""One input that takes longer than this is a hang."""
_FOLDER = Path(tempfile.mkdtemp(prefix="fer-fuzz-"))


def config(data: bytes) -> None:
    """A configuration file of these bytes."""
    (_FOLDER / "agent.toml").write_bytes(data)
    load(_FOLDER / "agent.toml", environ={})


def card(data: bytes) -> None:
    """A model card of these bytes."""
    try:
        Card.model_validate_json(data)
    except ValueError as error:  # pydantic's ValidationError; Bundle.load turns it into a ModelError
        str(error)


def sums(data: bytes) -> None:
    """A bundle whose SHA256SUMS are these bytes."""
    folder = _FOLDER / "bundle"
    folder.mkdir(exist_ok=True)
    (folder / "SHA256SUMS").write_bytes(data)
    Bundle.load(folder)


_DESK = Desk(Speaker(Topics("s", "r", "a"), "boot", 0), {}, lambda first, last: range(first, last + 1), lambda: 10**6)


def command(data: bytes) -> None:
    """A command whose first byte chooses its name, the rest its payload; odd ones with a topic of their own."""
    names = [*COMMANDS, "x"]
    name = names[data[0] % len(names)] if data else "ping"
    topic = data[1:60].decode("utf-8", "replace") if data and data[0] > 127 else f"fer/v1/s/r/a/cmd/{name}"
    answer = _DESK.answer(Received(topic, data[1:], False, topic, None))
    assert answer is None or len(answer[1].encode()) < 64_000


def spool(data: bytes) -> None:
    """A spool in which a segment has these bytes."""
    folder = _FOLDER / "spool"
    shutil.rmtree(folder, ignore_errors=True)
    store = DiskSpool(folder, 1_000_000, 1e9)
    first = store.add(lambda epoch, seq: json.dumps([epoch, seq]).encode())
    store.close()
    for path in sorted(p for p in folder.iterdir() if p.is_file() and p.stat().st_size > 100)[:1]:
        whole = path.read_bytes()
        at = (data[0] if data else 0) * len(whole) // 256
        path.write_bytes(whole[:at] + data[1:] + whole[at + len(data) // 2 :])
    store = DiskSpool(folder, 1_000_000, 1e9)
    second = store.add(lambda epoch, seq: json.dumps([epoch, seq]).encode())
    for position in store.pending():
        store.read(position)
    store.close()
    assert second is not None
    assert first is not None


def starts(data: bytes) -> None:
    """A record of starts of these bytes."""
    (_FOLDER / "starts.json").write_bytes(data)
    Starts(_FOLDER, clock=lambda: 100.0).begin()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "config": config, "card": card, "sums": sums, "command": command, "spool": spool, "starts": starts
}  # fmt: skip
SEEDS: dict[str, list[bytes]] = {
    "config": [commented().replace("#: ", "").encode()[:4000], b'[camera]\nfps = 1\n[[schedule]]\ndays = ["mon"]\n'],
    "card": [b'{"id": "x", "labels": ["neutral"], "input": {"shape": [1, 48, 48, 1]}}'],
    "sums": [b"0" * 64 + b"  model.tflite\n" + b"1" * 64 + b"  card.json\n"],
    "command": [b'\x02{"from": 1, "to": 9}', b"\x00{}", b'\x04{"bundle": "x"}'],
    "spool": [b"\x80abc", b"\x10" + bytes(40)],
    "starts": [b"[1.0, 2.0]"],
}


def one(target: Callable[[bytes], None], data: bytes) -> None:
    """Run one input under an alarm; errors of ours are answers."""
    signal.alarm(SLOWEST_S)
    try:
        target(data)
    except FerAgentError:
        pass
    finally:
        signal.alarm(0)


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Return `data` with bytes flipped, cut, doubled or put in."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(out) + 1)
        deed = rng.randrange(5)
        if deed == 0 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif deed == 1:
            del out[at : at + rng.randrange(1, 20)]
        elif deed == 2:
            out[at:at] = out[at : at + rng.randrange(1, 50)]
        elif deed == 3:
            out[at:at] = rng.choice([b"\0", b"[", b"{", b'"', b"\n", b"=", b"\xff", b"1e999", b"null", b"-1", b"'''"])
        else:
            out[at:at] = rng.randbytes(rng.randrange(1, 8))
    return bytes(out[:10_000])


def blind(name: str, seed: int, *, seconds: float = math.inf, most: float = math.inf) -> int:
    """Mutate the seeds for so long, or so often; return how many inputs ran. Raises what a target raised."""
    rng = random.Random(seed)
    end = time.monotonic() + seconds
    count = 0
    while count < most and time.monotonic() < end:
        data = mutate(rng, rng.choice(SEEDS[name]))
        try:
            one(TARGETS[name], data)
        except BaseException:
            Path(f"crash-{name}.bin").write_bytes(data)
            raise
        count += 1
    return count


def _hang(*_: object) -> None:
    raise TimeoutError(f"one input took longer than {SLOWEST_S} s")


def main() -> int:
    """Fuzz one target and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        import atheris
    except ImportError:
        signal.signal(signal.SIGALRM, _hang)  # atheris has an alarm of its own
        try:
            count = blind(options.target, options.seed, seconds=options.seconds)
        except BaseException:
            traceback.print_exc()
            return 1
        click.echo(f"{options.target}: {count} inputs, no crash, no hang (blind: atheris is not installed)")
        return 0
    corpus = _FOLDER / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS[options.target]):
        (corpus / str(number)).write_bytes(seed)
    # Ours and the TOML parser: instrumenting everything that is imported takes minutes.
    for found in gc.get_objects():
        if isinstance(found, FunctionType) and (found.__module__ or "").split(".")[0] in ("agent", "tomllib"):
            atheris.instrument_func(found)
    limits = [f"-max_total_time={options.seconds:.0f}", f"-timeout={SLOWEST_S}", f"-seed={options.seed}"]
    target = TARGETS[options.target]

    def guarded(data: bytes) -> None:
        try:
            target(data)
        except FerAgentError:
            return

    atheris.Setup([sys.argv[0], *limits, str(corpus)], guarded)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
