"""What may change before a run resumes, and what may not: F09 to F11 of the checklist."""

import json
import os
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.version import __version__

CHANGES = {
    "appended": lambda path: path.write_bytes(path.read_bytes() + b"\r\n1,2,3"),
    "edited": lambda path: path.write_bytes(path.read_bytes().replace(b"message", b"massage")),
    "written": lambda path: path.write_bytes(path.read_bytes()),
    "replaced": lambda path: replace_with_same_time(path),
}


def replace_with_same_time(path: Path) -> None:
    found, data = path.stat(), path.read_bytes()
    path.rename(path.with_name("before.csv"))
    path.write_bytes(data)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("appended", "{0} had {1:,} bytes and has {2:,} now"),
        ("edited", "{0} has other contents now"),
        ("written", "{0} was written since"),
        ("replaced", "{0} was replaced by another file"),
    ],
)
def test_F09_a_changed_input_is_refused(interrupted, change, said):
    path = interrupted.folder / "in.csv"
    size = path.stat().st_size
    CHANGES[change](path)
    kept = interrupted.checkpoint.read_bytes(), interrupted.part.read_bytes()
    done = interrupted.run()
    said = said.format(path, size, path.stat().st_size)
    assert done.stderr.decode() == (
        f"spam-batch: error: out.csv: an interrupted run is kept in {interrupted.checkpoint}, "
        f"but {said}; start over with --restart\n"
    )
    assert done.returncode == 65
    assert (interrupted.checkpoint.read_bytes(), interrupted.part.read_bytes()) == kept
    assert interrupted.out.read_bytes() == b"the old file\n"
    assert interrupted.run("--restart").returncode == 3


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--columns", "label"], "--columns was 'label,score' and is 'label' now"),
        (["--text-column", "x"], "--text-column was 'text' and is 'x' now"),
    ],
)
def test_F10_changed_options_are_refused(interrupted, finish, args, said):
    done = interrupted.run(*args)
    assert done.stderr.decode() == (
        f"spam-batch: error: out.csv: an interrupted run is kept in {interrupted.checkpoint}, "
        f"but {said}; give it as before, or start over with --restart\n"
    )
    assert done.returncode == 2
    finish(interrupted)


@pytest.mark.quick
def test_F10_another_bundle_is_refused(interrupted, finish, stub, stub_bundle, tmp_path):
    from batch.model.bundle import open_bundle

    (tmp_path / "other").mkdir()
    other = stub.write_bundle(tmp_path / "other", threshold=0.6)
    before, now = (open_bundle(folder).digest[:12] for folder in (stub_bundle, other))
    done = interrupted.run("--bundle", other)
    assert done.stderr.decode() == (
        f"spam-batch: error: out.csv: an interrupted run is kept in {interrupted.checkpoint}, "
        f"but its bundle was {before} and is {now} now; give that bundle, or start over "
        "with --restart\n"
    )
    assert done.returncode == 78
    finish(interrupted)


def test_F10_another_version_is_refused(interrupted, monkeypatch):
    from dataclasses import replace

    from batch.writing.checkpoint import read_checkpoint, write_checkpoint

    saved = read_checkpoint(interrupted.out)
    resume_key = replace(saved.resume_key, version="0.0.9")
    write_checkpoint(interrupted.out, replace(saved, resume_key=resume_key))
    done = interrupted.run()
    assert done.stderr.decode() == (
        f"spam-batch: error: out.csv: an interrupted run is kept in {interrupted.checkpoint}, "
        f"but by spam-batch 0.0.9, this is {__version__}; resume with that version, or "
        "start over with --restart\n"
    )
    assert done.returncode == 78


def test_F10_another_input_is_refused(interrupted, finish):
    (interrupted.folder / "other.csv").write_bytes(b"text\na\n")
    command = [part if part != "in.csv" else "other.csv" for part in interrupted.command()]
    done = subprocess.run(command, cwd=interrupted.folder, capture_output=True, timeout=120)
    folder = interrupted.folder
    begun = f"out.csv: an interrupted run is kept in {interrupted.checkpoint}"
    assert done.stderr.decode() == (
        f"spam-batch: error: {begun}, but it read {folder / 'in.csv'}, not "
        f"{folder / 'other.csv'}; start over with --restart\n"
    )
    assert done.returncode == 65
    command = [part if part != "in.csv" else "-" for part in interrupted.command()]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60, input=b"text\n")
    assert done.stderr.decode() == (
        f"spam-batch: error: {begun}, which read {folder / 'in.csv'}; resume with that input, or "
        "start over with --restart\n"
    )
    assert done.returncode == 65
    (folder / "other.csv").unlink()
    finish(interrupted)


@pytest.mark.parametrize("env", [{"STUB_WINDOW": 5}, {"STUB_WINDOW": 1000}, {"STUB_COMMIT": 60}])
def test_F11_another_window_or_commit_time_is_the_same(interrupted, finish, env):
    interrupted.env |= {key: str(value) for key, value in env.items()}
    finish(interrupted)


@pytest.mark.quick
@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.parquet"])
def test_F09_the_text_column_that_was_chosen_is_that_of_the_resumed_run(make_case, name):
    """The values choose it anew, from the same start of the input."""
    rows = [{"message": 9000 + row, "body": f"see you at {row}"} for row in range(60)]
    table = pa.Table.from_pylist(rows)
    outputs = []
    for is_killed in (False, True):
        case = make_case(args=[], has_old=False)
        (case.folder / "in.csv").unlink()
        if name == "in.parquet":
            pq.write_table(table, case.folder / name)
        elif name == "in.jsonl":
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (case.folder / name).write_text(lines)
        else:
            lines = "".join(f"{row['message']},{row['body']}\n" for row in rows)
            (case.folder / name).write_text("message,body\n" + lines)
        swapped = {"in.csv": name, "out.csv": name.replace("in", "out")}
        command = [swapped.get(arg, arg) for arg in case.command("--quiet")]
        options = {"capture_output": True, "cwd": case.folder, "timeout": 120}
        if is_killed:
            case.gate.write_bytes(b"")
            env = case.environment(STUB_HOLD=case.gate, STUB_HOLD_AT=3)
            process = subprocess.Popen(command, cwd=case.folder, env=env)
            while case.gate.stat().st_size == 0:
                assert process.poll() is None
                time.sleep(0.01)
            process.kill()
            process.wait()
            case.gate.unlink()
        done = subprocess.run(command, env=case.environment(), **options)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count(b"chosen by its values: 'body', of 'message'") == 1
        outputs.append((case.folder / name.replace("in", "out")).read_bytes())
        manifest = json.loads((case.folder / f"{name.replace('in', 'out')}.run.json").read_bytes())
        assert manifest["run"]["resumed"] == int(is_killed)
        assert manifest["table"]["text_column"] == "body"
        assert len(manifest["warnings"]) == 1
    assert outputs[0] == outputs[1]


@pytest.mark.quick
def test_F09_headers_before_and_after_the_kill_are_in_one_warning(make_case):
    """Two of three repeated headers are labelled before the kill, and one after it."""
    outputs = []
    for is_killed in (False, True):
        case = make_case(args=["--quiet"], has_old=False)
        dump = b"\xef\xbb\xbfid,text\n" + b"".join(b"%d,see you\n" % row for row in range(7))
        (case.folder / "in.csv").write_bytes(dump * 4)
        if is_killed:
            process = case.hold(at=4)
            process.kill()
            process.wait()
            case.release()
        done = case.run()
        assert (done.returncode, done.stderr) == (
            0,
            b"WARNING: 3 records repeat the header, the first in line 9; they were labelled as "
            b"records; files that are joined keep one header each\n",
        )
        outputs.append(case.out.read_bytes())
    assert outputs[0] == outputs[1]
    lines = outputs[0].splitlines()
    assert [line.rsplit(b",", 2)[0] for line in lines] == (dump * 4).splitlines()


@pytest.mark.quick
def test_F09_a_line_that_names_the_delimiter_is_there_once(make_case):
    outputs = []
    for is_killed in (False, True):
        case = make_case(args=["--quiet"], has_old=False)
        data = b"\xef\xbb\xbfsep=;\r\nid;text\r\n" + b"".join(
            b"%d;see you, at %d\r\n" % (row, row) for row in range(30)
        )
        (case.folder / "in.csv").write_bytes(data)
        if is_killed:
            process = case.hold(at=3)
            process.kill()
            process.wait()
            case.release()
        done = case.run()
        assert (done.returncode, done.stderr) == (0, b"")
        outputs.append(case.out.read_bytes())
    assert outputs[0] == outputs[1]
    first, *rows = outputs[0].split(b"\r\n")[:-1]
    assert b"\r\n".join([first, *(row.rsplit(b";", 2)[0] for row in rows), b""]) == data
