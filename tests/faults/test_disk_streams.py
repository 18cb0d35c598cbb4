"""Standard streams that are slow, full or closed: F27 to F30 of the checklist."""

import fcntl
import os
import subprocess
import time

import pytest

FULL = "No space left on device"


def test_F27_a_slow_reader_of_a_nonblocking_pipe(case):
    (case.folder / "in.csv").write_bytes(b"text\n" + b"a message\n" * 30_000)
    process = case.start(
        "--out", "-", "--max-rejects", 0, "--quiet", stdout=subprocess.PIPE,
        preexec_fn=set_nonblocking, env={"STUB_WINDOW": 10_000},
    )  # fmt: skip
    time.sleep(1)  # the pipe is full long before
    found, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (0, b"")
    rows = found.splitlines()
    assert rows[0] == b"text,label,score"
    assert len(rows) == 30_001 and len(set(rows)) == 2


def set_nonblocking() -> None:
    fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) | os.O_NONBLOCK)


@pytest.mark.quick
def test_F28_standard_output_is_full(case):
    with open("/dev/full", "wb") as full:
        done = case.run("--out", "-", "--max-rejects", 0, stdout=full, capture_output=False,
                        stderr=subprocess.PIPE)  # fmt: skip
    assert done.stderr == b"spam-batch: error: writing standard output: " + FULL.encode() + b"\n"
    assert done.returncode == 74
    done = case.run("--out", "/dev/full", "--max-rejects", 0)
    assert done.stderr == b"spam-batch: error: writing /dev/full: " + FULL.encode() + b"\n"
    assert done.returncode == 74


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "<&- 2>&-"])
def test_F29_closed_streams(case, wanted, closed):
    done = case.run(before=["sh", "-c", f'exec "$@" {closed}', "sh"])
    assert done.returncode == 3
    assert (case.out.read_bytes(), case.rejects.read_bytes()) == wanted
    assert done.stdout == b""


@pytest.mark.quick
@pytest.mark.parametrize("where", ["/dev/full", "a closed pipe"])
def test_F30_the_log_cannot_be_written(case, wanted, where):
    reading, writing = os.pipe()
    os.close(reading)
    with open("/dev/full", "wb") as full, open(writing, "wb") as broken:
        stderr = full if where == "/dev/full" else broken
        done = case.run(stderr=stderr, capture_output=False)
        assert done.returncode == 3
        assert (case.out.read_bytes(), case.rejects.read_bytes()) == wanted
        (case.folder / "in.csv").write_bytes(b"text\n")
        assert case.run(stderr=stderr, capture_output=False).returncode == 0
        (case.folder / "in.csv").write_bytes(b"")
        assert case.run(stderr=stderr, capture_output=False).returncode == 65
