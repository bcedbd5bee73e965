"""Seats: everybody once a window."""

import numpy as np
import pytest

from agent import config
from agent.records import Box
from agent.vision.detect import Detector
from agent.vision.seats import Seats
from tests.agent.vision import scenes


def box(x, y, width=40.0, score=0.9):
    return Box(x - width / 2, y - width / 2, width, width, score)


def room(people, rng):
    """Return places (x, y, width) of people in rows: those behind smaller, closer together."""
    columns = 6
    return [
        (120 + 190 * (i % columns) + rng.uniform(-20, 20), 100 + 130 * (i // columns), 30.0 + 12 * (i // columns))
        for i in range(people)
    ]


def seen_in_window(people, rng, *, frames=60, found=0.9, hidden=0.3, false=0.3):
    """Return what `Seats` counts: heads that drift and nod, are missed, hidden for a third, among false alarms."""
    seats = Seats()
    places = room(people, rng)
    start = rng.integers(0, frames, people)
    away = rng.random(people) < hidden
    for frame in range(frames):
        boxes = []
        for i, (x, y, width) in enumerate(places):
            gone = away[i] and (frame - start[i]) % frames < frames // 3
            if not gone and rng.random() < found:
                drift = 0.4 * width * np.sin(frame / 9 + i)
                nod = rng.normal(0, 0.06 * width, 2)
                boxes.append(box(x + drift + nod[0], y + nod[1], width * rng.uniform(0.9, 1.1), rng.uniform(0.6, 0.9)))
        boxes += [box(*rng.uniform((0, 0), (1280, 720)), 30, rng.uniform(0.5, 0.6)) for _ in range(rng.poisson(false))]
        seats.add(boxes)
    return len(set(seats.merged().values()))


@pytest.mark.parametrize("people", [1, 10, 20, 30])
def test_everybody_counts_once(people):
    """Of windows with drifting, nodding, missed and hidden heads, 90 % count the people to within one."""
    rng = np.random.default_rng(people)
    counts = np.array([seen_in_window(people, rng) for _ in range(20)])
    assert np.mean(np.abs(counts - people) <= 1) >= 0.9


def test_no_seat_without_people():
    """In 100 windows of false alarms alone, one a frame at random places, there is no seat."""
    rng = np.random.default_rng(0)
    assert sum(seen_in_window(0, rng, false=1.0) for _ in range(100)) == 0


def test_a_thing_that_stays_unsure_is_no_seat():
    """What is found at one place in every frame, but never surely, is no seat."""
    seats = Seats()
    for _ in range(60):
        seats.add([box(300, 300, score=0.53)])
    assert seats.merged() == {}


@pytest.mark.parametrize(
    "photograph", ["brick.png", "clock_motion.png", "coffee.png", "grass.png", "gravel.png", "rocket.jpg", "text.png"]
)
def test_photographs_without_people(photograph):
    """A camera that looks at bricks, a clock, coffee, grass, gravel, a rocket or a page for a window: nobody sits."""
    seats = Seats()
    with Detector(config.Detect(), threads=2) as detector:
        boxes = detector.boxes(scenes.photograph(photograph))
    for _ in range(20):
        seats.add(boxes)
    assert seats.merged() == {}


def test_fragments_of_one_seat_merge():
    """Somebody who leaves the picture and comes back a little beside is one seat, under both numbers."""
    seats = Seats()
    first = [seats.add([box(300, 300)])[0] for at in range(20)]
    second = [seats.add([box(345, 305)])[0] for at in range(20, 40)]
    merged = seats.merged()
    assert len({merged[i] for i in {*first, *second}}) == 1
    assert first[0] != second[0]


def test_whoever_comes_back_nearer_to_a_neighbour_is_one():
    """Leaning over to somebody who was there all the time, and nearer to that place: still two people, not three."""
    seats = Seats()
    for at in range(40):
        seats.add([box(300 if at < 20 else 344, 300), box(380, 300)])
    assert len(set(seats.merged().values())) == 2


def test_neighbours_are_two():
    """Two heads one and a half widths apart, seen together, are two seats."""
    seats = Seats()
    for _ in range(30):
        ids = seats.add([box(300, 300), box(360, 300)])
    assert len({seats.merged()[i] for i in ids}) == 2


def test_order_of_boxes_does_not_matter():
    """A head keeps its number when the detector lists it elsewhere."""
    seats = Seats()
    left, right = seats.add([box(300, 300), box(500, 300)])
    assert seats.add([box(503, 302), box(298, 301)]) == [right, left]


def test_whoever_moves_slowly_keeps_the_number():
    """A tenth of a width a frame, four widths in all: places are compared with the last one, not with the first."""
    seats = Seats()
    assert [seats.add([box(300 + 4 * at, 300)]) for at in range(40)] == [[0]] * 40


@pytest.mark.parametrize(("widths", "number"), [((40, 70), 0), ((70, 40), 0), ((40, 76), 1), ((76, 40), 1)])
def test_a_face_of_another_size_is_another(widths, number):
    """At one place, from one frame to the next: up to 1.8 times as wide, either way, is the same head; more is not."""
    seats = Seats()
    assert [seats.add([box(300, 300, width)]) for width in widths] == [[0], [number]]


def test_a_passer_by_is_no_seat():
    """Somebody seen in 5 of 60 frames is not counted."""
    seats = Seats()
    for at in range(60):
        seats.add([box(300, 300)] + ([box(800, 300)] if at < 5 else []))
    assert len(set(seats.merged().values())) == 1


def test_reset_forgets():
    """After `reset` nothing is left: numbers start again, and nobody sits anywhere."""
    seats = Seats()
    for _ in range(10):
        seats.add([box(300, 300)])
    seats.reset()
    assert seats.merged() == {}
    assert seats.add([box(300, 300)]) == [0]


def test_no_faces_for_an_hour():
    """Empty frames for an hour leave no seat and no memory."""
    seats = Seats()
    for _ in range(3600):
        assert seats.add([]) == []
    assert seats.merged() == {}


@pytest.mark.parametrize(
    ("clip", "people"), [("classroom.gif", 4), ("head-pose-face-detection-female-and-male.gif", 2)]
)
def test_real_clips(classroom_dir, clip, people):
    """The classroom clip's window has exactly four seats, the head-pose clip's exactly two."""
    seats = Seats()
    with Detector(config.Detect(), threads=2) as detector:
        for picture in scenes.video(classroom_dir / clip):
            seats.add(detector.boxes(picture))
    assert len(set(seats.merged().values())) == people


def test_composed_clip():
    """A composed clip of twelve people, a third of them hidden for a third of the time, has twelve seats."""
    seats = Seats()
    with Detector(config.Detect(), threads=2) as detector:
        for picture in scenes.clip(12, 40, frames=12, rng=np.random.default_rng(1)):
            seats.add(detector.boxes(picture))
    assert abs(len(set(seats.merged().values())) - 12) <= 1


def test_composed_clip_without_people():
    """Empty composed rooms give no seat."""
    rng = np.random.default_rng(2)
    with Detector(config.Detect(), threads=2) as detector:
        for _ in range(3):
            seats = Seats()
            for picture in scenes.clip(0, 40, frames=5, rng=rng):
                seats.add(detector.boxes(picture))
            assert seats.merged() == {}
