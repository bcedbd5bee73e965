"""Run a network in a process of its own, in this Python or another: numpy 1 and numpy 2 runtimes cannot share one.

`Places` knows which Python has which engine; `Job`s travel as .npz and JSON. The other Python needs numpy beside its
engine, and nothing else of ours (`engines`).
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from agent.errors import ConfigError, last_line

ENVIRONMENT: Final = "FER_PYTHONS"
"""Other Pythons to look for engines in, separated as PATH is."""

ROOT: Final = Path(__file__).parents[1]
"""Where the packages are; once installed, every other package of this Python lies there too."""

PACKAGES: Final = ("agent", "quantize", "training")
"""What the other Python takes from here."""


@dataclass(frozen=True)
class Job:
    """What to run."""

    engine: str
    """A name of `engines.ENGINES`."""
    model: str
    """Path of the model file."""
    threads: int = 1
    batch: int = 1
    seconds: float = 0.0
    """How long to time passes; 0 returns outputs instead of times."""


@dataclass(frozen=True)
class Places:
    """Engine → the Python that has it, and its version."""

    python: dict[str, str]
    version: dict[str, str]

    def outputs(self, job: Job, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Return logits (n, 8) of `faces` (n, side, side, 1)."""
        return np.asarray(self._run(job, faces)["logits"])

    def times(self, job: Job, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Return the seconds of each pass in `job.seconds` seconds over one batch of `faces`."""
        return np.asarray(self._run(job, faces)["seconds"])

    def _run(self, job: Job, faces: npt.NDArray[np.uint8]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="fer-") as folder:
            given, made = Path(folder) / "in.npz", Path(folder) / "out.npz"
            np.savez(given, faces=faces)
            _call(self.python[job.engine], "run", json.dumps(asdict(job)), str(given), str(made))
            with np.load(made) as stored:
                return dict(stored)


def places(pythons: Sequence[str] = ()) -> Places:
    """Return which of this Python, `pythons` and those in FER_PYTHONS has which engine; the first one wins."""
    others = [p for p in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if p]
    found, versions = {}, {}
    for python in (sys.executable, *pythons, *others):
        try:
            listed = json.loads(_call(python, "list"))
        except ValueError as cause:
            raise ConfigError(
                f"{python}: expected the path of a Python, got a program that lists no engines"
            ) from cause
        for engine, version in listed.items():
            if engine not in found:
                found[engine], versions[engine] = python, version
    return Places(found, versions)


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """Yield the environment in which another Python finds our `PACKAGES`, and all else where it always does.

    `ROOT` itself on its path would bring it this Python's numpy and runtime, and so would the current folder.
    """
    with tempfile.TemporaryDirectory(prefix="fer-") as folder:
        for name in PACKAGES:
            (Path(folder) / name).symlink_to(ROOT / name)
        yield {**os.environ, "PYTHONPATH": folder, "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _call(python: str, *arguments: str) -> str:
    """Run quantize.engines in `python`, showing its progress, and return what else it prints."""
    command = [python, "-m", "quantize.engines", *arguments]
    with environment() as env, tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        try:
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=env) as process:
                assert process.stdout is not None
                printed = _follow(process.stdout)
        except OSError as cause:
            raise ConfigError(f"{python}: cannot be run ({cause.strerror}); expected the path of a Python") from cause
        if process.returncode:
            errors.seek(0)
            last = last_line(errors.read(), f"exit code {process.returncode}")
            raise ConfigError(f"{python} -m quantize.engines {arguments[0]}: {last}")
    return printed


def _follow(lines: Iterable[str]) -> str:
    """Show lines "progress DONE TOTAL" as a bar; return the others."""
    bar, others = None, []
    for line in lines:
        if not line.startswith("progress "):
            others.append(line)
            continue
        done, total = map(int, line.split()[1:])
        # What was done before the bar began has no time on it, and would make the rest look quick.
        bar = bar or tqdm(total=total, initial=done, unit="face", mininterval=1)
        bar.update(done - bar.n)
    if bar is not None:
        bar.close()
    return "".join(others)
