"""What a Raspberry Pi could do at best. PROJECTION: arithmetic from data sheets, nothing here was measured by us.

Limit: multiply-accumulates ÷ (cores x clock x int8 multiply-accumulates a cycle). No int8 network runs faster.
Projection: multiply-accumulates ÷ the rate that another int8 ResNet-50 reached on that board with all cores. It takes
our smaller maps for as efficient as theirs at 224 px, which one face at a time is not: batches come nearest. Neither
counts that the weights (24 MB in the released network) come from memory once a batch.
"""

from dataclasses import dataclass
from typing import Final

RESNET50_MACS: Final = 3.8e9
"""Of one 224 px picture, He et al. 2015, table 1."""


@dataclass(frozen=True)
class Board:
    """A board and where its numbers come from."""

    name: str
    processor: str
    cores: int
    ghz: float
    macs_a_cycle: int
    """Of one core, int8."""
    why: str
    """Where `macs_a_cycle` comes from."""
    resnet50_ms: float
    """Published, int8, 224 px, all cores."""
    source: str


BOARDS: Final = (
    Board(
        "Raspberry Pi 4",
        "cortex-a72",
        cores=4,
        ghz=1.8,
        macs_a_cycle=8,
        why="no dot product: SMULL/SMLAL, 8 products each, one a cycle (Cortex-A72 Software Optimization Guide)",
        resnet50_ms=197,
        source="ncnn benchmark/README.md, resnet50_int8, 4 threads",
    ),
    Board(
        "Raspberry Pi 5",
        "cortex-a76",
        cores=4,
        ghz=2.4,
        macs_a_cycle=32,
        why="SDOT, 16 products each, two a cycle (Cortex-A76 Software Optimization Guide)",
        resnet50_ms=40.8,
        source="published for ncnn's resnet50_int8, 4 threads; not found in its own benchmark/README.md",
    ),
)


@dataclass(frozen=True)
class Projection:
    """Milliseconds a face on a board; not measured."""

    board: str
    one_core_limit_ms: float
    limit_ms: float
    """All cores."""
    projected_ms: float
    """All cores, at the rate of the published ResNet-50."""
    of_limit: float
    """Share of the limit's rate that the published one reached, 0-1."""
    basis: str


def project(macs: int) -> tuple[Projection, ...]:
    """Return the projection of `macs` multiply-accumulates a face for each of `BOARDS`."""
    return tuple(_project(board, macs) for board in BOARDS)


def _project(board: Board, macs: int) -> Projection:
    core = board.ghz * 1e9 * board.macs_a_cycle
    published = f"{board.source}: {board.resnet50_ms} ms"
    reached = RESNET50_MACS / (board.resnet50_ms / 1000)
    return Projection(
        board=board.name,
        one_core_limit_ms=1000 * macs / core,
        limit_ms=1000 * macs / (core * board.cores),
        projected_ms=1000 * macs / reached,
        of_limit=reached / (core * board.cores),
        basis=f"{board.cores} x {board.processor}, {board.ghz} GHz; {board.why}; {published}",
    )
