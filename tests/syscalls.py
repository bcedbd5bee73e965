"""Reads what strace saw: every byte that a program wrote, to which file or peer, and every connection."""

import re
import shutil
import subprocess
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest

WRITES = ["write", "pwrite64", "writev", "pwritev", "pwritev2", "sendto", "sendmsg", "sendmmsg"]
OTHER_WAYS = [
    *("sendfile", "splice", "tee", "vmsplice", "copy_file_range", "process_vm_writev"),
    *("memfd_create", "shmget", "io_uring_setup"),
]
"""How data could leave without a write that shows it."""
CALLS = ",".join("?" + call for call in (*WRITES, *OTHER_WAYS, "connect", "listen", "mmap"))
"""strace's list; "?" for those that a processor architecture lacks."""
_LINE = re.compile(r"^(?P<pid>\d+)\s+(?P<call>\w+)\((?P<rest>.*)\)\s+= (?P<result>-?\d+|0x[0-9a-f]+|\?)")
_FD = re.compile(r"^(?P<fd>\d+)<(?P<what>(?:->|[^<>])*)>")
_BYTES = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_UNFINISHED = re.compile(r"^(?P<pid>\d+)\s+(?P<head>.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(?P<pid>\d+)\s+<\.\.\. \w+ resumed>(?P<tail>.*)$")


@dataclass
class Trace:
    """What left a program's memory."""

    written: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    """File path or socket → the content of each write, in order, as far as the kernel took it."""
    peers: list[str] = field(default_factory=list)
    """Addresses that were connected to, or that a datagram was sent to, as strace prints them."""
    listening: list[str] = field(default_factory=list)
    """Sockets that waited for others to connect, with their addresses."""
    shared: list[str] = field(default_factory=list)
    """Writable shared mappings of files, and other ways to write without a write."""

    @property
    def total(self) -> int:
        """Bytes written in all."""
        return sum(len(part) for parts in self.written.values() for part in parts)


def trace(command: list[str], log: Path, **options: object) -> tuple[Trace, subprocess.CompletedProcess[str]]:
    """Run `command` to its end under strace. Skips the test where tracing is not possible."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed (Debian package strace)")
    if subprocess.run([strace, "-o", "/dev/null", "true"], capture_output=True).returncode != 0:
        pytest.skip("this machine does not allow ptrace")
    traced = [
        strace,
        "-f",
        "--seccomp-bpf",
        "-yy",
        "-xx",
        "-s",
        "1000000",
        "-e",
        f"trace={CALLS}",
        "-o",
        str(log),
        *command,
    ]
    done = subprocess.run(traced, capture_output=True, text=True, **options)  # type: ignore[call-overload]
    return read(log), done


def read(log: Path) -> Trace:
    """Parse strace's log; calls that another thread interrupted are put together again."""
    seen, open_calls = Trace(), {}
    for line in log.read_text(errors="replace").splitlines():
        if begun := _UNFINISHED.match(line):
            open_calls[begun["pid"]] = begun["head"]
            continue
        if ended := _RESUMED.match(line):
            line = f"{ended['pid']} {open_calls.pop(ended['pid'], '')}{ended['tail']}"
        if parsed := _LINE.match(line):
            _add(seen, parsed["call"], parsed["rest"], parsed["result"])
    return seen


def _add(seen: Trace, call: str, rest: str, result: str) -> None:
    if call == "connect" or (call.startswith("send") and "sa_family=" in rest):
        seen.peers.append(_readable(rest[rest.index("{") :]))
    if call == "connect":
        return
    if call == "listen":
        seen.listening.append(_readable(rest))
    elif call == "mmap":
        if "MAP_SHARED" in rest and "PROT_WRITE" in rest and "MAP_ANONYMOUS" not in rest:
            seen.shared.append(_readable(rest))
    elif call in OTHER_WAYS:
        seen.shared.append(f"{call}({_readable(rest)})")
    elif result.isdecimal() and int(result) > 0:
        target = _FD.match(rest)
        content = b"".join(bytes.fromhex(part.replace("\\x", "")) for part in _BYTES.findall(_payload(call, rest)))
        assert len(content) >= int(result), f"the trace of {call} is cut: {rest[:200]}"
        seen.written[_readable(target["what"]) if target else "?"].append(content[: int(result)])


def _payload(call: str, rest: str) -> str:
    """The arguments without the descriptor's own path."""
    found = _FD.match(rest)
    return rest[found.end() :] if found else rest


def _readable(text: str) -> str:
    """strace's text with its hexadecimal strings decoded."""
    return re.sub(
        r"(?:\\x[0-9a-f]{2})+", lambda m: bytes.fromhex(m[0].replace("\\x", "")).decode("utf-8", "replace"), text
    )
