"""Crashes, signals, resumption: section A of the checklist."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.writing.part_file import hash_start

SWEPT = ["write", "fsync", "rename", "unlink", "close"]
STEPS = {"close": 12}  # Python itself closes hundreds of files before our first


def kill_at_each(case_of, finish, strace, call, first=1, step=1, error="signal=KILL"):
    """Run with a fault at the k-th call, for each k until a run ends by itself; returns k."""
    for number in range(first, 5000, step):
        case = case_of(env={"STUB_WINDOW": "16"})
        done = case.run(before=strace(call, f"{error}:when={number}"))
        if done.returncode == 3:
            return number
        assert done.returncode in (-signal.SIGKILL, 137), done.stderr
        if case.out.read_bytes() != finish.output:  # between the rename and the end
            assert case.out.read_bytes() == b"the old file\n"
        finish(case)
        finish(case)  # an ordinary run afterwards
    raise AssertionError("it never ended by itself")


@pytest.fixture(autouse=True)
def _output(finish, wanted):
    finish.output = wanted[0]


@pytest.mark.parametrize("call", SWEPT)
def test_F02_killed_at_every_call(make_case, finish, strace, call, record_property):
    count = kill_at_each(make_case, finish, strace, call, step=STEPS.get(call, 1))
    record_property("runs", count // STEPS.get(call, 1))
    assert count > {"write": 15, "fsync": 15, "rename": 6, "unlink": 2, "close": 40}[call]


@pytest.mark.quick
@pytest.mark.parametrize(("call", "number"), [("write", 9), ("fsync", 8), ("rename", 4)])
def test_F02_killed_once(case, finish, strace, call, number):
    done = case.run(before=strace(call, f"signal=KILL:when={number}"))
    assert done.returncode in (-9, 137)
    case.check_untouched()
    done = finish(case)
    assert b"resuming at line " in done.stderr


@pytest.mark.parametrize("seed", range(20))
def test_F01_killed_at_random_times(make_case, finish, seed):
    case = make_case()
    process = case.start(env={"STUB_SLEEP": 0.05})
    time.sleep(random.Random(seed).uniform(0.05, 0.9))
    process.kill()
    process.communicate(timeout=120)
    if process.returncode == 3:
        return
    assert process.returncode == -9
    finish(case)


def test_F03_killed_between_data_and_checkpoint(case, finish, strace):
    """The third fsync is that of the checkpoint itself: the data was synced, not the count."""
    assert case.run(before=strace("fsync", "signal=KILL:when=7")).returncode in (-9, 137)
    finish(case)


@pytest.mark.quick
def test_F04_killed_between_the_last_row_and_the_rename(case, finish, strace, tmp_path):
    loads = tmp_path / "loads"
    case.env["STUB_LOADS"] = str(loads)
    for number in range(9, 30):
        done = case.run("--restart", before=strace("rename", f"signal=KILL:when={number}"))
        assert done.returncode in (-9, 137)
        if json.loads(case.checkpoint.read_bytes())["progress"]["is_complete"]:
            break
    loads.write_text("")
    case.check_untouched()
    done = finish(case)
    line = b"an interrupted run had labelled all of in.csv; nothing is left to label\n"
    assert line in done.stderr  # behind a line on a run manifest that had no name yet
    assert loads.read_text() == ""


@pytest.mark.parametrize("call", ["unlink", "fsync"])
def test_F05_killed_between_the_rename_and_the_end(case, finish, strace, call, tmp_path):
    loads = tmp_path / "loads"
    case.env["STUB_LOADS"] = str(loads)
    path = case.checkpoint if call == "unlink" else case.folder
    for number in range(1, 30):
        if case.out.read_bytes() == finish.output:
            break
        case.run("--restart", before=strace(call, f"signal=KILL:when={number}", path))
    before = loads.read_text()
    assert case.checkpoint.exists()
    done = finish(case)
    assert b"nothing is left to label" in done.stderr
    assert loads.read_text() == before


@pytest.mark.quick
def test_F05_then_another_input(case, strace, wanted):
    """The checkpoint of a run that had ended does not stand in the way of the next one."""
    done = case.run(before=strace("unlink", "signal=KILL:when=1", case.checkpoint))
    assert done.returncode in (-9, 137) and case.checkpoint.exists()
    assert case.out.read_bytes() == wanted[0]
    (case.folder / "in.csv").write_bytes(b"text\nanother\n")
    done = case.run()
    assert (done.returncode, case.names) == (0, ["in.csv", "out.csv", "out.csv.run.json"])
    assert case.out.read_bytes().startswith(b"text,label,score\nanother,")


@pytest.mark.parametrize("damage", ["tail cut", "tail of zeros", "tail of rows", "rejects tail"])
def test_F06_the_unsynced_tail_is_lost(interrupted, finish, damage):
    size = json.loads(interrupted.checkpoint.read_bytes())["progress"]["bytes"]
    tail = {"tail cut": b"", "tail of zeros": bytes(999), "tail of rows": b"1,a,x,ham,0.1\r\n"}
    path = interrupted.part
    if damage == "rejects tail":
        path = path.with_name(path.name.replace(".part", ".rejects.part"))
        size, tail = path.stat().st_size, {damage: b"1,2,3,4\n" * 9}
    with open(path, "r+b") as file:
        file.truncate(size)
        file.seek(size)
        file.write(tail[damage])
    finish(interrupted)


@pytest.mark.parametrize("name", ["part", "rejects"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "link", "hard link"])
def test_F07_a_damaged_part_file_is_refused(interrupted, finish, name, damage, tmp_path):
    part = interrupted.part
    if name == "rejects":
        part = part.with_name(part.name.replace(".part", ".rejects.part"))
    data = part.read_bytes()
    if damage == "cut":
        os.truncate(part, 5)
        problem = "has 5 bytes, its checkpoint says "
    elif damage == "flipped":
        part.write_bytes(data[:9] + bytes([data[9] ^ 1]) + data[10:])
        problem = "its bytes are not those that were written, "
    else:
        part.rename(tmp_path / "elsewhere")
        problem = "cannot be opened: No such file or directory, "
        if damage == "link":
            part.symlink_to(tmp_path / "elsewhere")
            problem = "cannot be opened: Too many levels of symbolic links, "
        elif damage == "hard link":
            part.hardlink_to(tmp_path / "elsewhere")
            problem = "is not a file that this user alone has, "
    done = interrupted.run()
    assert done.returncode == 65
    assert done.stderr.decode().startswith(f"spam-batch: error: {part}: {problem}")
    hint = b"so the interrupted run cannot resume; start over with --restart\n"
    assert done.stderr.endswith(hint)
    interrupted.check_untouched()
    finish(interrupted, "--restart")


def test_F08_a_torn_checkpoint_is_refused_at_every_length(interrupted, finish, stub, monkeypatch):
    from batch.errors import InputError
    from batch.writing.checkpoint import read_checkpoint

    whole = interrupted.checkpoint.read_bytes()
    for size in range(len(whole) - 1):  # the last byte is a line end
        interrupted.checkpoint.write_bytes(whole[:size])
        with pytest.raises(InputError) as error:
            read_checkpoint(interrupted.out)
        message = f"{interrupted.checkpoint}: is damaged; start over with --restart"
        assert str(error.value) == message
    done = interrupted.run()
    assert (done.returncode, done.stderr.decode()) == (65, f"spam-batch: error: {message}\n")
    interrupted.check_untouched()
    finish(interrupted, "--restart")


@pytest.mark.quick
def test_F08_a_changed_byte_in_a_checkpoint_is_refused(interrupted):
    from batch.errors import InputError
    from batch.writing.checkpoint import read_checkpoint

    whole = interrupted.checkpoint.read_bytes()
    saved = read_checkpoint(interrupted.out)
    for at in range(len(whole)):
        changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        interrupted.checkpoint.write_bytes(changed)
        try:
            found = read_checkpoint(interrupted.out)
        except InputError as error:
            assert str(interrupted.checkpoint) in str(error)
        else:  # white space became another
            assert found == saved


@pytest.mark.parametrize("data", [b"", b"{", b'{\n "format": "spam-batch checkpoint"}'])
def test_F08_half_a_checkpoint_is_refused(interrupted, data):
    interrupted.checkpoint.write_bytes(data)
    done = interrupted.run()
    message = f"{interrupted.checkpoint}: is damaged; start over with --restart"
    assert (done.returncode, done.stderr.decode()) == (65, f"spam-batch: error: {message}\n")


@pytest.mark.parametrize("data", [b"{}", b"null", b"[" * 9999, b"\xff\xfe", b"0" * 99])
@pytest.mark.parametrize("options", [[], ["--restart"]])
def test_F08_what_is_no_checkpoint_is_refused_and_kept(interrupted, data, options):
    """It may be anybody's, so --restart does not remove it."""
    interrupted.checkpoint.write_bytes(data)
    done = interrupted.run(*options)
    message = (
        f"{interrupted.checkpoint} is not a checkpoint of spam-batch, and that of this run would "
        "go there; move it, or give another --out"
    )
    assert (done.returncode, done.stderr.decode()) == (73, f"spam-batch: error: {message}\n")
    assert interrupted.checkpoint.read_bytes() == data


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
        "but by spam-batch 0.0.9, this is 0.1.0; resume with that version, or start over with "
        "--restart\n"
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


def test_the_checkpoint_says_what_is_written(interrupted):
    saved = json.loads(interrupted.checkpoint.read_bytes())
    with open(interrupted.part, "rb", buffering=0) as file:
        found = hash_start(file, saved["progress"]["bytes"]).hexdigest()
        assert found == saved["progress"]["sha256"]
    rows = sum(saved["progress"]["labels"].values())
    assert saved["progress"]["records"] == rows + saved["progress"]["rejects"]
    assert saved["part"] == interrupted.part.name


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
