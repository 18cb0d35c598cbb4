"""Start and stop Ray; it prints nothing, and sends no usage statistics."""

import contextlib
import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

from batch.errors import BundleError
from batch.model.inference import usable_cpus

STORE_BYTES = 100 << 20  # of a cluster that we start; only shard numbers pass through it


def import_ray():
    """Import Ray. It sends no usage statistics and logs only to its own files."""
    ours = {"RAY_USAGE_STATS_ENABLED": "0"}
    if not os.environ.get("RAY_ADDRESS"):
        # A secret for the cluster that we start; otherwise Ray keeps one in the user's home.
        ours |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in ours.items():
        os.environ.setdefault(name, value)  # Ray reads them when it is imported
    import ray
    import ray.data

    for name in ("ray", "ray.data"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [logging.NullHandler()], False
    return ray


@contextlib.contextmanager
def start_cluster(ray) -> Iterator[dict[str, float]]:
    """The resources of the cluster in RAY_ADDRESS, or of one that we start and stop.

    Raises:
        BundleError: Ray did not start.
    """
    address = os.environ.get("RAY_ADDRESS")
    own = {}
    if not address:
        cpus = usable_cpus()
        own = {"num_cpus": cpus, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    with _quiet():
        try:
            with _keeping_signals():
                ray.init(address or "local", log_to_driver=False, configure_logging=False, **own)
        except Exception as error:
            where = f"at {address}" if address else "here"
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise BundleError(f"Ray did not start {where}: {reason}") from None
        try:
            yield ray.cluster_resources()
        finally:
            with _dropping_late_errors():
                ray.shutdown()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop what Ray prints, and what its C++ writes to descriptor 2, so cron does not mail it.

    Lines written to ``sys.stderr`` are kept.
    """
    with contextlib.ExitStack() as stack:
        null = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stdout(null))
        if _is_descriptor_2(sys.stderr):
            kept = os.dup(2)
            old = sys.stderr
            file = stack.enter_context(
                open(kept, "w", buffering=1, encoding=old.encoding, errors=old.errors)
            )
            stack.callback(os.dup2, kept, 2)
            stack.enter_context(contextlib.redirect_stderr(file))
            os.dup2(null.fileno(), 2)
        yield


@contextlib.contextmanager
def _dropping_late_errors() -> Iterator[None]:
    """Print no error of a thread or a destructor of Ray's that finds its cluster gone.

    Ray Data waits only two seconds for its thread, which is too short on a busy machine.
    """
    before = threading.excepthook, sys.unraisablehook
    threading.excepthook = lambda _: None
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = before


def _is_descriptor_2(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 2
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def _keeping_signals() -> Iterator[None]:
    """Restore our signal handlers: Ray installs its own for SIGTERM."""
    numbers = []
    if threading.current_thread() is threading.main_thread():
        numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    before = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
