"""Work done ahead: the order, the errors, and an end that nothing waits for."""

import threading
import time

import pytest

from batch.run.prefetch import prefetch


def test_order_and_number():
    assert list(prefetch(iter(range(100)))) == list(range(100))
    assert list(prefetch(iter([]))) == []


def test_it_runs_ahead_but_not_far():
    made = []

    def items():
        for number in range(10):
            made.append(number)
            yield number

    reader = prefetch(items())
    assert next(reader) == 0
    deadline = time.monotonic() + 60
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(made) == 3  # one used, one ready, one waiting for its place
    assert list(reader) == list(range(1, 10))


def test_an_error_comes_behind_what_came_before_it():
    def items():
        yield 1
        yield 2
        raise ValueError("third")

    reader = prefetch(items())
    assert [next(reader), next(reader)] == [1, 2]
    with pytest.raises(ValueError, match=r"^third$"):
        next(reader)


def test_closing_does_not_wait_for_a_read_that_hangs():
    hangs = threading.Event()

    def items():
        yield 1
        hangs.wait()
        yield 2

    reader = prefetch(items())
    assert next(reader) == 1
    closing = threading.Thread(target=reader.close, daemon=True)
    closing.start()
    closing.join(60)  # the read hangs for ever
    assert not closing.is_alive()
    hangs.set()


def test_closing_ends_the_thread():
    reader = prefetch(iter(range(1000)))
    next(reader)
    reader.close()
    deadline = time.monotonic() + 60
    while any(thread.name == "reader" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
