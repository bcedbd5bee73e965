"""The budget on disk: spent before a result leaves, closed whenever the file is not understood."""

import json
import math
import multiprocessing
import os
import signal
from datetime import date, timedelta
from pathlib import Path

import pytest

from agent.insight.budget import WINDOWS_A_DAY
from agent.trust.audit import AuditLog, verify
from agent.trust.budget_file import BudgetFile, Moment, moment

MONDAY = date(2026, 3, 2)
DAY_S = 86400.0


class Clock:
    """A wall clock and a boot clock that a test can move, together or apart."""

    def __init__(self) -> None:
        self.wall, self.boot, self.boot_id = 1_772_400_000.0, 5000.0, "boot-1"

    def __call__(self) -> Moment:
        return Moment(MONDAY + timedelta(days=(self.wall - 1_772_400_000) // DAY_S), self.wall, self.boot, self.boot_id)

    def pass_days(self, days: float) -> None:
        self.wall += days * DAY_S
        self.boot += days * DAY_S

    def jump_days(self, days: float) -> None:
        self.wall += days * DAY_S


@pytest.fixture
def clock() -> Clock:
    return Clock()


def budget(folder: Path, clock: Clock) -> BudgetFile:
    """A fresh object, as after a restart."""
    return BudgetFile(folder, AuditLog(folder), clock)


def spend_all(folder: Path, clock: Clock) -> list[int | None]:
    return [budget(folder, clock).spend() for _ in range(WINDOWS_A_DAY + 2)]


def test_twelve_a_day_over_restarts(tmp_path: Path, clock: Clock) -> None:
    """A new process for every window: twelve, then closed; the next day twelve again."""
    assert spend_all(tmp_path, clock) == [*range(1, 13), None, None]
    clock.pass_days(1)
    assert spend_all(tmp_path, clock) == [*range(1, 13), None, None]


def test_a_lost_file_is_closed_for_the_day(tmp_path: Path, clock: Clock) -> None:
    """budget.json removed after three windows: closed today, open tomorrow, and audited."""
    for _ in range(3):
        budget(tmp_path, clock).spend()
    (tmp_path / "budget.json").unlink()
    assert budget(tmp_path, clock).spend() is None
    assert budget(tmp_path, clock).spend() is None
    assert '"reason":"missing"' in (tmp_path / "audit.log").read_text()
    clock.pass_days(1)
    assert budget(tmp_path, clock).spend() == 1


def test_a_lost_file_beside_a_lost_audit_log_is_closed_too(tmp_path: Path, clock: Clock) -> None:
    """Removing budget.json and audit.log, but not audit.head, still closes."""
    budget(tmp_path, clock).spend()
    (tmp_path / "budget.json").unlink()
    (tmp_path / "audit.log").unlink()
    assert budget(tmp_path, clock).spend() is None


def test_truncated_at_every_byte_it_is_closed(tmp_path: Path, clock: Clock) -> None:
    """The file cut at any length, to nothing included, is closed for the day and kept aside."""
    budget(tmp_path, clock).spend()
    whole = (tmp_path / "budget.json").read_bytes()
    for length in range(len(whole) - 2):  # without the last newline or brace's successor it is still the whole JSON
        (tmp_path / "budget.json").write_bytes(whole[:length])
        assert budget(tmp_path, clock).spend() is None, whole[:length]
        assert (tmp_path / "budget.json.bad").read_bytes() == whole[:length]
    clock.pass_days(1)
    assert budget(tmp_path, clock).spend() == 1


def test_a_file_that_nests_too_deeply_is_closed(tmp_path: Path, clock: Clock) -> None:
    """What the parser gives up on is no budget."""
    budget(tmp_path, clock).spend()
    (tmp_path / "budget.json").write_text("[" * 100_000)
    assert budget(tmp_path, clock).spend() is None
    assert (tmp_path / "budget.json.bad").is_file()


@pytest.mark.parametrize(
    "change",
    [{"windows": -5}, {"windows": 13}, {"windows": "0"}, {"windows": 0.5}, {"windows": True}, {"windows": None},
     {"day": "yesterday"}, {"day": 20260302}, {"version": 0}, {"version": "1"}, {"wall_s": "x"}, {"wall_s": 10**400},
     {"wall_s": math.nan}, {"boot_s": math.inf}],
)  # fmt: skip
def test_nonsense_is_closed(tmp_path: Path, clock: Clock, change: dict[str, object]) -> None:
    """Values that no budget has close the day."""
    budget(tmp_path, clock).spend()
    file = tmp_path / "budget.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert budget(tmp_path, clock).spend() is None
    assert '"reason":"not a budget"' in (tmp_path / "audit.log").read_text()


def test_a_file_from_tomorrow_is_closed_until_then(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A budget of a later day is not touched: closed today, which the log says, and on that day it still holds what it
    held."""
    clock.pass_days(1)
    for _ in range(5):
        budget(tmp_path, clock).spend()
    tomorrow = (tmp_path / "budget.json").read_bytes()
    clock.pass_days(-1)
    assert budget(tmp_path, clock).spend() is None
    assert (tmp_path / "budget.json").read_bytes() == tomorrow
    assert "event=budget.closed reason='of a later day: expected 2026-03-02, got 2026-03-03; if a clock" in caplog.text
    clock.pass_days(1)
    assert budget(tmp_path, clock).spend() == 6


def test_a_jump_of_the_clock_opens_no_day(tmp_path: Path, clock: Clock) -> None:
    """The wall clock set to tomorrow within one boot keeps today's count; a day that really passed opens a new one."""
    spend_all(tmp_path, clock)
    clock.jump_days(1)
    assert budget(tmp_path, clock).spend() is None
    clock.jump_days(30)
    assert budget(tmp_path, clock).spend() is None
    clock.pass_days(1)
    assert budget(tmp_path, clock).spend() == 1


@pytest.mark.parametrize(("hours", "spent"), [(1.9, 1), (2.1, None)])
def test_a_clock_that_gains_less_than_two_hours_is_believed(
    tmp_path: Path, clock: Clock, hours: float, spent: int | None
) -> None:
    """Past midnight by a correction of up to two hours is another day; by more it is the same one, still closed."""
    clock.pass_days(23 / 24)
    spend_all(tmp_path, clock)
    clock.jump_days(hours / 24)
    assert budget(tmp_path, clock).spend() == spent


def test_many_small_steps_are_one_jump(tmp_path: Path, clock: Clock) -> None:
    """Set forward by 1.9 hours before each window: past midnight it is still the same day's twelve."""
    spent = []
    for _ in range(14):
        clock.jump_days(1.9 / 24)
        spent.append(budget(tmp_path, clock).spend())
    assert spent == [*range(1, 13), None, None]
    clock.pass_days(1)
    assert budget(tmp_path, clock).spend() == 1


def test_a_jump_carries_what_was_spent(tmp_path: Path, clock: Clock) -> None:
    """The clock syncs after boot (years ahead): five windows spent before count with those after."""
    for _ in range(5):
        budget(tmp_path, clock).spend()
    clock.jump_days(700)
    assert budget(tmp_path, clock).spend() == 6


def test_a_reboot_overnight_opens_the_next_day(tmp_path: Path, clock: Clock) -> None:
    """Another boot whose wall clock is a day later is believed."""
    spend_all(tmp_path, clock)
    clock.boot_id, clock.boot = "boot-2", 30.0
    clock.jump_days(1)
    assert budget(tmp_path, clock).spend() == 1


def test_a_newer_version_is_closed_and_untouched(tmp_path: Path, clock: Clock) -> None:
    """The file of a newer agent: closed, not overwritten, today and tomorrow."""
    budget(tmp_path, clock).spend()
    newer = b'{"version": 2, "something": "else"}\n'
    (tmp_path / "budget.json").write_bytes(newer)
    assert budget(tmp_path, clock).spend() is None
    clock.pass_days(1)
    assert budget(tmp_path, clock).spend() is None
    assert (tmp_path / "budget.json").read_bytes() == newer


def test_a_disk_that_cannot_be_written_is_closed(tmp_path: Path, clock: Clock) -> None:
    """What cannot be counted is not released: no state folder, or one that takes no file."""
    assert budget(tmp_path / "nowhere", clock).spend() is None
    budget(tmp_path, clock).spend()
    (tmp_path / "budget.json.new").mkdir()  # root ignores modes; the draft cannot be opened
    assert budget(tmp_path, clock).spend() is None


def test_a_full_disk_is_closed(tmp_path: Path, clock: Clock) -> None:
    """A file that cannot grow (RLIMIT_FSIZE 0, like a full disk) closes the budget and keeps the old file."""
    import resource

    budget(tmp_path, clock).spend()
    before = (tmp_path / "budget.json").read_bytes()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        os._exit(0 if budget(tmp_path, clock).spend() is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (tmp_path / "budget.json").read_bytes() == before


def _spend(folder: Path, queue: multiprocessing.Queue) -> None:
    queue.put([BudgetFile(folder, AuditLog(folder)).spend() for _ in range(6)])


def test_processes_share_one_budget(tmp_path: Path) -> None:
    """Four processes with six tries each take twelve together, every number once."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_spend, args=(tmp_path, queue)) for _ in range(4)]
    for worker in workers:
        worker.start()
    taken = [spent for _ in workers for spent in queue.get(timeout=30)]
    for worker in workers:
        worker.join()
    assert sorted(t for t in taken if t is not None) == list(range(1, WINDOWS_A_DAY + 1))


def test_the_audit_log_tells_of_it(tmp_path: Path, clock: Clock) -> None:
    """Opened once, closed when spent, and the chain is whole."""
    spend_all(tmp_path, clock)
    events = [json.loads(line)["event"] for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert events == ["budget.opened", "budget.closed"]
    assert verify(tmp_path).problems == ()


def test_this_machines_clocks_are_read() -> None:
    """The real clocks give today and a time since boot."""
    now = moment()
    assert now.day == date.today()
    assert now.boot_s > 0
