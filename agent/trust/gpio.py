"""A status light and a kill switch on GPIO lines: gpiozero where it is installed, else libgpiod 2, else nothing.

The light is on exactly while the camera is open. Both are context managers; a line that is not configured is a no-op.
"""

import importlib
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

log = logging.getLogger(__name__)

CHIP: Final = "/dev/gpiochip0"
"""Where libgpiod finds the header's lines."""


class _Line:
    """One GPIO line, opened in `__enter__`."""

    def __init__(self, number: int | None) -> None:
        self._number = number
        self._failed = False
        self._close: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        if self._number is None:
            return self
        failures = []
        for opens in (self._open_gpiozero, self._open_gpiod):
            try:
                opens(self._number)
                return self
            except Exception as error:  # GPIO libraries raise errors of their own, and of what they stand on
                failures.append(f"{type(error).__name__}: {error}")
        log.warning("event=gpio.unavailable line=%d reason=%r", self._number, "; ".join(failures))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def _fail(self, error: Exception) -> None:
        """Say once that a line which was opened does not work any more."""
        if not self._failed:
            log.warning("event=gpio.failed line=%s reason='%s: %s'", self._number, type(error).__name__, error)
        self._failed = True

    def _open_gpiozero(self, number: int) -> None:
        raise NotImplementedError

    def _open_gpiod(self, number: int) -> None:
        raise NotImplementedError


class Light(_Line):
    """The status light: `on()` before the camera opens, `off()` after it is closed; off when left."""

    def __init__(self, number: int | None) -> None:
        super().__init__(number)
        self._set: Callable[[bool], None] | None = None

    def on(self) -> None:
        """The camera is about to open."""
        self._switch(True)

    def off(self) -> None:
        """The camera is closed."""
        self._switch(False)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.off()
        self._set = None
        super().__exit__(kind, error, at)

    def _switch(self, on: bool) -> None:
        if self._set is None:
            return
        try:
            self._set(on)
        except Exception as error:  # as in __enter__
            self._fail(error)

    def _open_gpiozero(self, number: int) -> None:
        led: Any = importlib.import_module("gpiozero").LED(number, initial_value=False)
        self._set, self._close = (lambda on: led.on() if on else led.off()), led.close

    def _open_gpiod(self, number: int) -> None:
        gpiod: Any = importlib.import_module("gpiod")
        values = gpiod.line.Value
        settings = gpiod.LineSettings(direction=gpiod.line.Direction.OUTPUT, output_value=values.INACTIVE)
        lines = gpiod.request_lines(CHIP, consumer="fer-agent", config={number: settings})
        self._set = lambda on: lines.set_value(number, values.ACTIVE if on else values.INACTIVE)
        self._close = lines.release


class Switch(_Line):
    """The kill switch: closed to ground means sensing is off. A configured line that cannot be read is closed."""

    def __init__(self, number: int | None) -> None:
        super().__init__(number)
        self._read: Callable[[], bool] = lambda: number is not None

    def closed(self) -> bool:
        """True while sensing must be off."""
        try:
            return self._read()
        except Exception as error:  # as in __enter__
            self._fail(error)
            return True

    def _open_gpiozero(self, number: int) -> None:
        button: Any = importlib.import_module("gpiozero").Button(number, pull_up=True)
        self._read, self._close = (lambda: bool(button.is_pressed)), button.close

    def _open_gpiod(self, number: int) -> None:
        gpiod: Any = importlib.import_module("gpiod")
        line = gpiod.line
        settings = gpiod.LineSettings(direction=line.Direction.INPUT, bias=line.Bias.PULL_UP, active_low=True)
        lines = gpiod.request_lines(CHIP, consumer="fer-agent", config={number: settings})
        self._read = lambda: bool(lines.get_value(number) == line.Value.ACTIVE)
        self._close = lines.release
