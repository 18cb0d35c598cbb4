"""Signals, and a model that fails: F12 to F19 of the checklist."""

import os
import signal
import subprocess
import time

import pytest


@pytest.mark.quick
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_F12_F13_F14_a_signal_stops_cleanly(case, finish, number):
    process = case.hold(at=3, env={"STUB_COMMIT": 600})  # it would wait there for ever
    process.send_signal(number)
    said = process.communicate(timeout=120)[1].decode()
    kept, *_, last = said.splitlines()
    assert kept.startswith("kept ")
    assert kept.endswith(
        f" records of {case.folder / 'in.csv'}; the same command resumes from there"
    )
    name = "interrupted" if number == signal.SIGINT else f"stopped by {number.name}"
    assert last == f"spam-batch: error: {name}"
    assert process.returncode == 128 + number
    case.check_untouched()
    assert case.checkpoint.stat().st_mode & 0o777 == 0o600
    assert b"resuming at line" in finish(case).stderr


@pytest.mark.quick
def test_F13_the_second_interrupt_ends_at_once(case, finish, tmp_path):
    """The first one's clean-up would never end, as a sync of a dead disk may not."""
    syncing = tmp_path / "syncing"
    process = case.hold(at=3, env={"STUB_COMMIT": 600, "STUB_SYNC": syncing})
    process.send_signal(signal.SIGINT)
    while not syncing.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGINT
    case.check_untouched()
    finish(case)


def test_F15_the_reader_of_standard_output_goes_away(case):
    process = case.start("--out", "-", "--max-rejects", 0, stdout=subprocess.PIPE)
    assert process.stdout.read(5) == b"id,te"
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(120) in (141, 65), said
    process.stderr.close()
    assert b"Traceback" not in said


def test_F16_stopped_and_continued(case, wanted):
    process = case.hold(at=3)
    process.send_signal(signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
    case.release()
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=120)
    assert process.returncode == 3
    assert case.out.read_bytes() == wanted[0]


@pytest.mark.quick
def test_F19_a_message_that_the_model_fails_at(case, finish):
    done = case.run(env={"STUB_RAISE": 'message, "2"'})  # the third row's, in the first window
    assert done.stderr.decode() == (
        "spam-batch: error: in.csv: the model failed at line 4, byte offset "
        f"{11 + 2 * len('0,`message, ``0``,x') + 6}: ValueError\n"
    )
    assert done.returncode == 70
    assert case.names == ["in.csv", "out.csv"]
    case.check_untouched()
    finish(case)
