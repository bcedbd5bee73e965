"""The whole agent on one screen: frames → faces → readings → window → privacy gate → publish."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from agent.records import Face, Frame, Reading, Summary, Window


class Aggregator(Protocol):
    """What the loop needs of a window."""

    def add(self, at: float, readings: Sequence[Reading], trouble: str | None = None) -> Window | None:
        """Take one frame's readings; return the window that this frame closed, if any."""

    def close(self) -> Window | None:
        """Return what is left, flagged partial; None if nothing was added."""


def run(
    frames: Iterable[Frame],
    detect: Callable[[Frame], Sequence[Face]],
    classify: Callable[[Frame, Sequence[Face]], Sequence[Reading]],
    window: Aggregator,
    protect: Callable[[Window], Summary],
    publish: Callable[[Summary], None],
) -> None:
    """Run until `frames` ends. Nothing but what `protect` returned ever reaches `publish`."""
    for frame in frames:
        faces = detect(frame) if frame.trouble is None else ()
        readings = classify(frame, faces)
        if measured := window.add(frame.at, readings, frame.trouble):
            publish(protect(measured))
    if measured := window.close():
        publish(protect(measured))
