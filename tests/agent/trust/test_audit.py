"""The audit log: what was changed or removed is found, with its line number."""

import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli.audit import command
from agent.errors import CheckFailed, InputError, UsageError
from agent.trust.audit import AuditLog, Head, verify
from tests.mounts import fill, mounted


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    """A log of ten entries."""
    log = AuditLog(tmp_path, lambda: datetime(2026, 3, 2, 8, 0, tzinfo=UTC))
    for i in range(10):
        log.append("mode", sensing="on" if i % 2 else "off", reason=None if i % 2 else "schedule")
    return log


def lines(log: AuditLog) -> list[bytes]:
    return log.path.read_bytes().splitlines(keepends=True)


def problems(log: AuditLog) -> list[tuple[int, str]]:
    return [(line, text.split(":")[0]) for line, text in verify(log.path.parent).problems]


def test_a_whole_log_has_no_problems(log: AuditLog) -> None:
    """Ten entries written, ten verified, and the head is the last one's."""
    verdict = verify(log.path.parent)
    assert (verdict.entries, verdict.problems) == (10, ())
    assert verdict.head == log.head() == Head.parse((log.path.parent / "audit.head").read_text())


def test_a_log_that_is_being_written_is_whole(log: AuditLog) -> None:
    """An agent that runs adds entries while they are verified: no line was removed, and none added by somebody else."""
    with ThreadPoolExecutor() as pool:
        adding = pool.submit(lambda: [log.append("mode", sensing="on") for _ in range(150)])
        while not adding.done():
            assert problems(log) == []
    assert verify(log.path.parent).entries == 160


@pytest.mark.parametrize("line", range(1, 11))
def test_a_changed_line_is_named(log: AuditLog, line: int) -> None:
    """One word changed in any line: exactly that line is named."""
    content = lines(log)
    content[line - 1] = content[line - 1].replace(b'"event":"mode"', b'"event":"policy"')
    log.path.write_bytes(b"".join(content))
    assert problems(log) == [(line, "changed")]


def test_a_line_that_is_no_text_is_named(log: AuditLog) -> None:
    """A lone surrogate, and brackets without end: named, as any other change; and the log goes on behind it."""
    for text in (b'{"n":5,"at":"\\ud800","event":"mode","detail":{},"prev":"","hash":""}\n', b"[" * 100_000 + b"\n"):
        content = lines(log)
        content[4] = text
        log.path.write_bytes(b"".join(content))
        assert (5, "changed") in problems(log)
        assert log.last("policy") is None
    content[-1] = content[-1].replace(b'"hash":"', b'"hash":"\\ud800')
    log.path.write_bytes(b"".join(content))
    log.note("mode", sensing="on")
    assert (10, "changed") in problems(log)
    assert len(lines(log)) == 11


def test_a_full_disk_is_no_forgery(tmp_path: Path) -> None:
    """Lines that still fit into the last block of a full disk take the head with them."""
    with mounted("tmpfs", tmp_path / "small", "size=64k") as disk:
        log = AuditLog(disk)
        log.append("mode", sensing="on")
        fill(disk)
        for _ in range(5):
            log.append("mode", sensing="off")
        assert verify(disk).problems == ()
        assert verify(disk).entries == 6


def test_a_line_that_a_full_disk_takes_half_of_is_no_forgery(tmp_path: Path) -> None:
    """The entry is refused, and the log is whole: while the disk is full, and with room again."""
    with mounted("tmpfs", tmp_path / "small", "size=64k") as disk:
        log = AuditLog(disk)
        log.append("mode", sensing="on")
        fill(disk)
        kept = 1
        with suppress(OSError):
            for _ in range(100):
                log.append("mode", sensing="off")
                kept += 1
        assert kept < 100, "the disk was never full"
        assert disk.joinpath("audit.log").stat().st_size % 4096, "the last block took no half of a line"
        assert verify(disk).problems == ()
        (disk / "other").unlink()
        log.append("mode", sensing="on")
        assert verify(disk).problems == ()
        assert verify(disk).entries == kept + 1


@pytest.mark.parametrize("line", range(1, 11))
def test_every_byte_counts(log: AuditLog, line: int) -> None:
    """Any single byte of a line flipped is found in that line."""
    content = lines(log)
    for at in range(0, len(content[line - 1]) - 1, 7):
        changed = bytearray(content[line - 1])
        changed[at] ^= 1
        log.path.write_bytes(b"".join([*content[: line - 1], bytes(changed), *content[line:]]))
        assert (line, "changed") in problems(log)


@pytest.mark.parametrize("line", range(1, 11))
def test_a_changed_line_with_a_new_hash_is_named(log: AuditLog, line: int) -> None:
    """A forger who computes the line's own hash anew is given away by the next line, or by the head for the last."""
    import hashlib

    content = lines(log)
    fields = json.loads(content[line - 1])
    fields["event"] = "policy"
    del fields["hash"]
    plain = json.dumps(fields, separators=(",", ":"))
    fields["hash"] = hashlib.sha256(plain.encode()).hexdigest()
    content[line - 1] = json.dumps(fields, separators=(",", ":")).encode() + b"\n"
    log.path.write_bytes(b"".join(content))
    assert problems(log) == [(line, "changed")]


@pytest.mark.parametrize("line", range(1, 11))
def test_a_removed_line_is_named(log: AuditLog, line: int) -> None:
    """One line cut out anywhere, the first and the last included: the place is named."""
    content = lines(log)
    del content[line - 1]
    log.path.write_bytes(b"".join(content))
    found = problems(log)
    assert [number for number, _ in found] == [line]
    assert found[0][1].startswith("removed")


def test_a_cut_end_stays_visible_after_new_entries(log: AuditLog) -> None:
    """Three lines cut off the end, then the agent goes on: the hole is still there."""
    log.path.write_bytes(b"".join(lines(log)[:7]))
    log.append("agent.start")
    found = verify(log.path.parent).problems
    assert [line for line, _ in found] == [8]
    assert "expected entry 8, got 11" in found[0][1]


def test_swapped_and_inserted_lines_are_found(log: AuditLog) -> None:
    """Order counts, and a copied line is one too many."""
    content = lines(log)
    log.path.write_bytes(b"".join([*content[:3], content[4], content[3], *content[5:]]))
    assert problems(log)[0][0] == 4
    log.path.write_bytes(b"".join([*content[:3], content[2], *content[3:]]))
    assert problems(log)[0][0] == 4


def test_a_log_rewritten_with_its_head_is_found_by_a_noted_head(log: AuditLog) -> None:
    """Who writes both files can forge both: a head that was noted elsewhere shows it."""
    noted = log.head()
    for file in (log.path, log.head_path):
        file.unlink()
    for _ in range(12):
        log.append("agent.start")
    assert verify(log.path.parent).problems == ()
    assert [line for line, _ in verify(log.path.parent, noted).problems] == [10]


def test_a_missing_head_is_said(log: AuditLog) -> None:
    """Without audit.head a cut end could not be seen, so its absence is a problem."""
    log.head_path.unlink()
    assert "audit.head is missing" in verify(log.path.parent).problems[0][1]


@pytest.mark.parametrize("keep", [1, 20, -1])
def test_a_line_torn_by_a_power_cut_is_set_aside(log: AuditLog, keep: int) -> None:
    """Half a line at the end: kept in audit.torn, repaired, and the chain goes on whole."""
    content = lines(log)
    eleventh = content[9].replace(b'"n":10', b'"n":11')
    log.path.write_bytes(b"".join(content) + eleventh[:keep])
    log.append("agent.start")
    assert verify(log.path.parent).problems == ()
    assert [json.loads(line)["event"] for line in lines(log)[10:]] == ["audit.repaired", "agent.start"]
    assert (log.path.parent / "audit.torn").read_bytes() == eleventh[:keep]


def test_a_power_cut_between_line_and_head_is_no_fraud(log: AuditLog) -> None:
    """The head one entry behind the log is whole."""
    before = log.head_path.read_bytes()
    log.append("agent.stop")
    log.head_path.write_bytes(before)
    assert verify(log.path.parent).problems == ()


def test_entries_hold_no_measurements(log: AuditLog) -> None:
    """Only known events are taken, and details can be words, whole numbers and flags: no float, no list."""
    with pytest.raises(ValueError, match="expected one of"):
        log.append("engagement")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="value"):
        log.append("mode", value=61.5)  # type: ignore[arg-type]


def _write_many(folder: Path) -> None:
    for _ in range(25):
        AuditLog(folder).append("agent.start")


def test_processes_do_not_tear_the_chain(tmp_path: Path) -> None:
    """Four processes that append at once leave one whole chain."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_write_many, args=(tmp_path,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    verdict = verify(tmp_path)
    assert (verdict.entries, verdict.problems) == (100, ())


def test_a_disk_that_cannot_be_written_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`note` does not stop the agent; it says what was lost."""
    (tmp_path / "audit.log").mkdir()
    AuditLog(tmp_path).note("agent.start")
    assert "event=audit.unwritable" in caplog.text


def run(*arguments: str) -> object:
    return CliRunner().invoke(command, ["verify", *arguments], catch_exceptions=True)


def test_the_command_says_whole(log: AuditLog) -> None:
    """`fer-agent audit verify` ends well and prints the head, as text and as one JSON document."""
    result = run("--state-dir", str(log.path.parent))
    assert (result.exit_code, str(log.head()) in result.output) == (0, True)  # type: ignore[attr-defined]
    report = json.loads(run("--state-dir", str(log.path.parent), "--json").output)  # type: ignore[attr-defined]
    assert report == {"entries": 10, "head": str(log.head()), "whole": True, "problems": []}


def test_the_command_names_the_line(log: AuditLog) -> None:
    """A changed line: exit 1, and FILE:LINE on stderr."""
    content = lines(log)
    content[3] = content[3].replace(b"schedule", b"holidays").replace(b'"on"', b'"of"')
    log.path.write_bytes(b"".join(content))
    result = run("--state-dir", str(log.path.parent))
    assert isinstance(result.exception, CheckFailed)  # type: ignore[attr-defined]
    assert "audit.log:4: changed" in result.output  # type: ignore[attr-defined]


def test_the_command_compares_with_a_noted_head(log: AuditLog) -> None:
    """`--head` of this log is whole, also when entries came since; of another log it is exit 1 with the line, and what
    is no head exit 2."""
    folder, noted = str(log.path.parent), str(log.head())
    assert run("--state-dir", folder, "--head", noted).exit_code == 0  # type: ignore[attr-defined]
    log.append("agent.stop")
    assert run("--state-dir", folder, "--head", noted).exit_code == 0  # type: ignore[attr-defined]
    other = run("--state-dir", folder, "--head", f"10:{'0' * 64}")
    assert isinstance(other.exception, CheckFailed)  # type: ignore[attr-defined]
    assert "audit.log:10: changed: the head noted elsewhere" in other.output  # type: ignore[attr-defined]
    wrong = run("--state-dir", folder, "--head", "10:abc").exception  # type: ignore[attr-defined]
    assert isinstance(wrong, UsageError)
    assert str(wrong) == "--head: expected NUMBER:SHA256, got '10:abc'"


def test_the_command_without_a_log(tmp_path: Path) -> None:
    """No audit log: exit 66, not "whole"."""
    error = run("--state-dir", str(tmp_path)).exception  # type: ignore[attr-defined]
    assert isinstance(error, InputError)
