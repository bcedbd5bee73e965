import os
import signal
import threading
from collections.abc import Iterator

import pytest

from agent.device.signals import on_end


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_end_while_main_thread_holds_the_lock(number: int) -> None:
    """As when it comes inside `Event.wait`; called by the handler itself, this waited for ever."""
    lock, called = threading.Lock(), threading.Event()

    def end() -> None:
        with lock:
            called.set()

    on_end(end)
    with lock:
        os.kill(os.getpid(), number)
        assert not called.wait(0.1)
    assert called.wait(10)


def test_only_the_first_calls() -> None:
    calls: list[int] = []
    called = threading.Event()
    on_end(lambda: (calls.append(1), called.set()))
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
    assert called.wait(10)
    os.kill(os.getpid(), signal.SIGINT)
    assert calls == [1]
