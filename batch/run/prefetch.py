"""Prefetch: a thread makes the next item of a stream while the last one is used."""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

T = TypeVar("T")
_END = object()


def prefetch(items: Iterator[T], queued: int = 1) -> Generator[T, None, None]:
    """Yield ``items`` in their order; a thread makes them, at most ``queued + 1`` in advance.

    An exception of ``items`` is raised here, after the items before it. Closing the generator
    ends the thread at its next item. It does not wait for an item that blocks on a pipe.
    """
    done: queue.Queue = queue.Queue(queued)
    closed = threading.Event()

    def put(value: object) -> bool:
        while not closed.is_set():
            try:
                done.put(value, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((_END, None))
        except BaseException as error:
            put((_END, error))

    thread = threading.Thread(target=run, daemon=True, name="reader")
    thread.start()
    try:
        while True:
            item, error = done.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        closed.set()
