"""Heat and power: reads this machine's sensors and steps the sampling rate down before the hardware throttles."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STEPS: Final = ((85.0, 0.25), (80.0, 0.5), (75.0, 0.75))
"""(at or above this °C, share of the configured rate). A Raspberry Pi 4 and 5 throttle themselves at 80-85 °C."""
_HYSTERESIS: Final = 5.0
"""°C below a step's threshold at which the rate goes up again."""
UNDER_VOLTAGE_SHARE: Final = 0.5
"""Share of the configured rate while the supply is too weak: less load is the one thing the agent can do."""


@dataclass(frozen=True)
class Reading:
    """What the sensors say."""

    temperature_c: float | None
    """Hottest thermal zone, °C; None where there is none."""
    under_voltage: bool
    """The Raspberry Pi's supply is too weak now."""


def read(sys: Path = Path("/sys")) -> Reading:
    """Return what the sensors under `sys` say; what cannot be read is absent, never an error."""
    zones = (_number(zone) for zone in sorted(sys.glob("class/thermal/thermal_zone*/temp")))
    # -273200 is what an unused ACPI zone shows.
    hot = [value / 1000 for value in zones if value is not None and -50_000 < value < 200_000]
    alarms = [_number(file) for file in sys.glob("class/hwmon/hwmon*/in*_lcrit_alarm")]
    return Reading(max(hot, default=None), any(alarm == 1 for alarm in alarms))


@dataclass(frozen=True)
class Change:
    """The rate changed."""

    share: float
    """Share of the configured sampling rate from now on, 0-1."""
    reason: str
    """"thermal.hot", "thermal.under-voltage" or "thermal.normal"."""
    detail: str


class Thermal:
    """Chooses the share of the sampling rate. Single-threaded; ask it every few seconds.

    Down at once, by the table; up only when the temperature is 5 °C below the threshold, so that it does not flap.
    """

    def __init__(self, sensors: Callable[[], Reading] = read) -> None:
        self._sensors = sensors
        self._step = len(STEPS)
        self.share = 1.0
        """Share of the configured sampling rate, 0-1."""
        self.last = Reading(None, under_voltage=False)

    def update(self) -> Change | None:
        """Read the sensors; return the change, if the rate is another now."""
        self.last = self._sensors()
        if self.last.temperature_c is not None:
            self._step = self._next_step(self.last.temperature_c)
        share = STEPS[self._step][1] if self._step < len(STEPS) else 1.0
        if self.last.under_voltage:
            share = min(share, UNDER_VOLTAGE_SHARE)
        if share == self.share:
            return None
        self.share = share
        return Change(share, self._reason(share), f"{self._words()}; sampling at {share:.0%} of the configured rate")

    def _next_step(self, celsius: float) -> int:
        """Return the index in `STEPS` that applies, its length for none."""
        hotter = next((i for i, (limit, _) in enumerate(STEPS) if celsius >= limit), len(STEPS))
        if hotter <= self._step:
            return hotter
        step = self._step
        while step < hotter and celsius <= STEPS[step][0] - _HYSTERESIS:
            step += 1
        return step

    def _reason(self, share: float) -> str:
        if share == 1.0:
            return "thermal.normal"
        return "thermal.under-voltage" if self.last.under_voltage else "thermal.hot"

    def _words(self) -> str:
        heat = "temperature unknown" if self.last.temperature_c is None else f"{self.last.temperature_c:.1f} °C"
        return f"{heat}, supply too weak" if self.last.under_voltage else heat


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text().strip())
    except (OSError, ValueError):
        return None
