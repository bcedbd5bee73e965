"""The one place that chooses a TFLite runtime: LiteRT where it is installed, else tflite-runtime."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, Final

from agent.errors import ConfigError

MODULES: Final = (("litert", "ai_edge_litert.interpreter"), ("tflite-runtime", "tflite_runtime.interpreter"))
"""(name, module) in order of preference; see EDGE.md: LiteRT's int8 kernels are 2-4 times faster."""


@dataclass(frozen=True)
class Runtime:
    """A TFLite runtime that imports on this machine."""

    name: str
    """"litert" or "tflite-runtime"."""
    module: ModuleType

    def interpreter(
        self, model: bytes, threads: int, *, reference: bool = False, delegates: list[Any] | None = None
    ) -> Any:
        """Return an allocated interpreter of `model` (the file's bytes, already checked by their SHA-256).

        `reference` takes the slow kernels that are bit-equal on every platform.
        """
        resolver = self.module.OpResolverType
        # A delegate may abort the process: what it says before must be seen.
        with _without_notices() if delegates is None else nullcontext():
            made = self.module.Interpreter(
                model_content=model,
                num_threads=threads,
                experimental_delegates=delegates,
                experimental_op_resolver_type=resolver.BUILTIN_REF if reference else resolver.AUTO,
            )
            made.allocate_tensors()
        return made


@contextmanager
def _without_notices() -> Iterator[None]:
    """Let go on to stderr what native code says there, but for notices: a log in JSON is lines of JSON."""
    try:
        stderr = os.dup(2)
    except OSError:  # closed
        yield
        return
    said, saying = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)  # never a wait: what has no room in the pipe is lost
    try:
        os.dup2(saying, 2)
        os.close(saying)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        with open(said, "rb", buffering=0) as lines:
            for line in (lines.read(1 << 16) or b"").splitlines(keepends=True):
                if not line.startswith(b"INFO:"):
                    with suppress(OSError):
                        os.write(2, line)


@cache
def available() -> tuple[Runtime, ...]:
    """Return every runtime that imports here, the preferred one first."""
    found = []
    for name, module in MODULES:
        try:
            found.append(Runtime(name, importlib.import_module(module)))
        except ImportError:
            continue
    return tuple(found)


def choose(name: str = "auto") -> Runtime:
    """Return the runtime called `name`, or the preferred one for "auto".

    Raises
    ------
    ConfigError
        it is not installed
    """
    for runtime in available():
        if name in ("auto", runtime.name):
            return runtime
    have = ", ".join(r.name for r in available()) or "none"
    raise ConfigError(
        f"expected a TFLite runtime ({name}), installed: {have}; pip install ai-edge-litert, or on Python 3.11 "
        f"and older: pip install 'fer-agent[tflite]'"
    )
