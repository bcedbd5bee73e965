"""How complete the streams are, as the database has them.

A device that moves to another room keeps its epoch and goes on counting: there it is a stream of its own, and what is
stored or lost of the same agent and epoch in its earlier rooms is no hole in it. (agent, epoch, seq) is the key.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, Engine, exists, select

from deploy.collector.tables import agents, gaps, streams, windows

_AT_ONCE: Final = 500
"""Streams named in one query."""

_MOST_BEYOND: Final = 100_000
"""Windows beyond holes that are read at once; what is left out is read again before anything is asked for."""

_MOST_GAPS: Final = 10_000
"""Lost ranges that are read at once, shared by the streams that have some: one of them must not crowd out the rest."""


@dataclass(slots=True)
class Progress:
    """How complete a stream is."""

    upto: int
    """Everything up to here is stored or lost."""
    seqs: list[int] = field(default_factory=list)
    """Sequence numbers beyond it that are stored; the first ones, if there are very many."""
    lost: list[tuple[int, int]] = field(default_factory=list)
    """Ranges that reach beyond it and are lost; the first ones, if there are very many."""


def read_progress(engine: Engine, wanted: Collection[int]) -> dict[int, Progress]:
    """Return how complete these streams are. A few queries, however many they are."""
    found: dict[int, Progress] = {}
    ids = sorted(wanted)
    with engine.connect() as connection:
        for start in range(0, len(ids), _AT_ONCE):
            mine = ids[start : start + _AT_ONCE]
            earlier = _elsewhere(connection, mine)
            alone = _read(connection, sorted({*mine, *(other for others in earlier.values() for other in others)}))
            found |= {one: _together(alone[one], [alone[other] for other in earlier[one]]) for one in mine}
    return found


def _elsewhere(connection: Connection, ids: Sequence[int]) -> dict[int, list[int]]:
    """Return of each stream those of the same agent and epoch in other rooms."""
    whose, others, who = agents.alias().c, streams.alias().c, agents.alias().c
    same = (who.agent == whose.agent) & (others.epoch == streams.c.epoch) & (others.id != streams.c.id)
    query = select(streams.c.id, others.id).where(streams.c.id.in_(ids), whose.id == streams.c.agent_id)
    found: dict[int, list[int]] = defaultdict(list)
    for one, other in connection.execute(query.where(who.id == others.agent_id, same)):
        found[one].append(other)
    return found


def _together(one: Progress, others: Sequence[Progress]) -> Progress:
    if not others:
        return one
    every = (one, *others)
    upto = max(p.upto for p in every)
    seqs = sorted({seq for p in every for seq in p.seqs if seq > upto})
    return Progress(upto, seqs, sorted({lost for p in every for lost in p.lost if lost[1] > upto}))


def _read(connection: Connection, ids: Sequence[int]) -> dict[int, Progress]:
    mine = streams.c.id.in_(ids)
    uptos = connection.execute(select(streams.c.id, streams.c.upto_seq).where(mine))
    found = {stream: Progress(upto) for stream, upto in uptos}
    beyond = select(windows.c.stream_id, windows.c.seq).join_from(windows, streams)
    beyond = beyond.where(mine, windows.c.seq > streams.c.upto_seq)
    for stream, seq in connection.execute(beyond.order_by(windows.c.stream_id, windows.c.seq).limit(_MOST_BEYOND)):
        found[stream].seqs.append(seq)
    some = exists().where(gaps.c.stream_id == streams.c.id, gaps.c.to_seq > streams.c.upto_seq)
    holed = connection.scalars(select(streams.c.id).where(mine, some)).all()
    for stream in holed:
        lost = select(gaps.c.from_seq, gaps.c.to_seq).where(gaps.c.stream_id == stream)
        lost = lost.where(gaps.c.to_seq > found[stream].upto).order_by(gaps.c.from_seq)
        rows = connection.execute(lost.limit(_MOST_GAPS // len(holed)))
        found[stream].lost = [(first, last) for first, last in rows]
    return found
