"""How many different people a window's seats are for certain. Pure functions, no state.

A seat is a place: somebody who walks through the room, or changes chairs, may hold several in one window. Two seats
that were seen at the same time are two people; two that never were may be one. What protects a person (k_min, the
noise of `strict`) must not take their places for more people than they are.
"""

from collections import Counter
from collections.abc import Mapping, Set
from typing import Final

SHARED: Final = 0.1
"""Seats that have at most this share of the frames of the one that was seen less in common may be one person: somebody
else who passes an empty chair, or a false alarm there, proves nothing."""


def certain(sightings: Mapping[int, Set[int]]) -> list[list[int]]:
    """Return the seats grouped so that there are at least as many people as groups.

    Seats that may be one person are linked, and so are those that are linked through a third. People who were never
    seen together share a group, so there may be fewer than people; never more, since there are no more groups than
    seats were seen in one frame: two people who take turns on three chairs are seen on every pair of them.

    Parameters
    ----------
    sightings : seat → numbers of the frames in which somebody was seen there
    """
    groups: list[list[int]] = []
    left = list(sightings)
    while left:
        group = [left.pop()]
        for seat in group:  # grows while it is walked
            linked = [other for other in left if _may_be_one(sightings[seat], sightings[other])]
            group += linked
            left = [other for other in left if other not in linked]
        groups.append(group)
    at_once = Counter(frame for frames in sightings.values() for frame in frames)
    while len(groups) > max(at_once.values(), default=1):
        groups.sort(key=lambda group: -len(set().union(*(sightings[seat] for seat in group))))
        groups[-2:] = [groups[-2] + groups[-1]]
    return groups


def _may_be_one(one: Set[int], other: Set[int]) -> bool:
    return len(one & other) <= SHARED * min(len(one), len(other))
