"""Do the next step of a stream of work in a thread, while the last one is used."""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

T = TypeVar("T")
_END = object()


def read_ahead(items: Iterator[T], ahead: int = 1) -> Generator[T, None, None]:
    """Yield ``items`` in their order, made in a thread, at most ``ahead`` and one more of them.

    What they raise is raised here, behind the items before it. Closing the generator ends
    the thread at its next item; it does not wait for one that is being read from a pipe.
    """
    done: queue.Queue = queue.Queue(ahead)
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
