"""Two runs at once, cron, little memory, no network, odd names: section E of the checklist."""

import json
import os
import resource
import shutil
import subprocess

import pytest


@pytest.mark.quick
def test_F86_the_second_run_ends_at_once(case, finish):
    process = case.hold()  # for ever: a second one that waited for it would not end
    done = case.run(env={"STUB_LOADS": "loads"})
    wanted = (
        f"spam-batch: error: another run is writing {case.out}; wait until it ends, or stop it\n"
    )
    assert (done.returncode, done.stderr.decode()) == (75, wanted)
    assert "loads" not in case.names
    assert process.poll() is None
    process.kill()
    process.wait()
    finish(case)  # the lock of a killed run is free


def test_F86_through_a_link(case):
    case.hold()
    (case.folder / "link.csv").symlink_to("out.csv")
    assert case.run("--out", "link.csv").returncode == 75


def test_F86_many_at_once(case, wanted):
    """One of them at least does it; the others end with 75, or do it after it has ended."""
    started = [case.start(env={"STUB_SLEEP": 0.01}) for _ in range(6)]
    codes = {process.wait(timeout=120) for process in started}
    assert codes <= {3, 75} and 3 in codes
    assert (case.out.read_bytes(), case.rejects.read_bytes()) == wanted
    assert case.names == ["in.csv", "out.csv", "out.csv.run.json", "out.rejects.csv"]


def test_F87_the_same_input_twice(case, wanted):
    started = [case.start("--out", name) for name in ("one.csv", "two.csv")]
    assert [process.wait(timeout=120) for process in started] == [3, 3]
    for name in ("one.csv", "two.csv"):
        assert (case.folder / name).read_bytes() == wanted[0]


CRON = {
    "nothing": {},
    "LANG=C": {"LANG": "C"},
    "LC_ALL=POSIX": {"LC_ALL": "POSIX"},
    "no UTF-8 mode": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "Turkish": {"LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8"},
}


@pytest.mark.parametrize("name", CRON)
def test_F88_cron(case, wanted, name):
    env = {"STUB_WINDOW": "8", "STUB_COMMIT": "0", **CRON[name]}
    done = subprocess.run(
        case.command(), cwd=case.folder, env=env, stdin=subprocess.DEVNULL,
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert (case.out.read_bytes(), case.rejects.read_bytes()) == wanted
    assert b"\r" not in done.stderr  # no progress bar in the mail
    assert done.stdout == b""


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "Europe/Berlin", "Pacific/Apia"])
def test_F89_F94_time_zones(case, finish, zone):
    case.env["TZ"] = zone
    finish(case)


@pytest.mark.parametrize("megabytes", [60, 100, 140, 180, 220, 300])
def test_F90_little_memory(case, finish, megabytes):
    """Where Python itself starts, the run ends well, or by a sentence and a status of ours."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

    (case.folder / "in.csv").write_bytes(b"text\n" + b"a message\n" * 100_000)
    done = case.run(preexec_fn=limit, env={"STUB_WINDOW": 100_000, "OPENBLAS_NUM_THREADS": 1})
    assert done.returncode != 3
    if done.returncode:
        assert case.out.read_bytes() == b"the old file\n"
    else:
        assert case.out.read_bytes().count(b"\n") == 100_001


@pytest.mark.quick
def test_F90_out_of_memory_on_the_way(case, finish, stub, monkeypatch):
    done = case.run(env={"STUB_MEMORY": 'message, "4"'})
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith("spam-batch: error: out of memory; free memory and type the same ")
    assert done.returncode == 71
    case.check_untouched()
    finish(case)


@pytest.mark.quick
def test_F92_no_network(case, wanted):
    if not shutil.which("unshare"):
        pytest.skip("there is no unshare")
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("a process without a network cannot be had here")
    done = case.run(before=["unshare", "-rn"])
    assert done.returncode == 3
    assert (case.out.read_bytes(), case.rejects.read_bytes()) == wanted


@pytest.mark.quick
def test_F93_a_read_only_home_and_folder(case, unshare, wanted):
    """All but the output's own folder is read-only; nothing is written elsewhere."""
    script = """
        mkdir out ro && mount -t tmpfs none out && mount -t tmpfs -o ro none ro || exit 99
        export HOME=$PWD/ro TMPDIR=$PWD/ro XDG_CACHE_HOME=$PWD/ro
        here=$PWD; cd ro; "$@" --out "$here/out/out.csv" "$here/in.csv"
        code=$?; ls -A $here/out >../names; cp $here/out/* ..; exit $code
    """
    command = case.command()
    command.remove("in.csv")
    del command[command.index("--out") : command.index("--out") + 2]
    done = subprocess.run(
        [*unshare, "sh", "-c", script, "sh", *command], cwd=case.folder, env=case.environment(),
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert (case.folder / "names").read_text() == "out.csv\nout.csv.run.json\nout.rejects.csv\n"
    assert (case.out.read_bytes(), case.rejects.read_bytes()) == wanted


ODD_NAMES = [
    b"with spaces.csv", b"new\nline.csv", b"-leading.csv", b"caf\xe9.csv", b"\x1b[31m.csv",
    b"percent%s.csv", b"quote'\".csv", "\u202eright to left.csv".encode(),
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_F93_odd_names(case, wanted, name):
    folder = os.fsencode(case.folder)
    os.rename(case.folder / "in.csv", os.path.join(folder, name))
    out = b"out " + name
    command = [os.fsencode(part) for part in case.command()]
    command[command.index(b"in.csv")] = b"./" + name
    command += [b"--out", out, b"--max-rejects", b"1"]
    env = case.environment()
    stopped = subprocess.run(command, cwd=folder, env=env, capture_output=True, timeout=120)
    assert stopped.returncode == 65, stopped.stderr
    for control in (b"\x1b", "\u202e".encode(), b"\xe9"):
        assert control not in stopped.stderr
    assert len(stopped.stderr.splitlines()) == 3  # what is kept, the rejects, why it stopped
    done = subprocess.run(
        [*command, b"--max-rejects", b"2"], cwd=folder, env=env, capture_output=True, timeout=60
    )
    assert done.returncode == 3, done.stderr
    with open(os.path.join(folder, out), "rb") as file:
        assert file.read() == wanted[0]


@pytest.mark.quick
def test_F93_a_name_with_a_leading_hyphen(case, wanted):
    (case.folder / "in.csv").rename(case.folder / "-in.csv")
    command = case.command("--", "-in.csv")
    command.remove("in.csv")
    done = subprocess.run(
        command, cwd=case.folder, env=case.environment(), capture_output=True, timeout=60
    )
    assert done.returncode == 3, done.stderr
    assert case.out.read_bytes() == wanted[0]


@pytest.mark.parametrize(
    "env", [{"PYTHONHASHSEED": 1}, {"PYTHONHASHSEED": 2}, {"OMP_NUM_THREADS": 7}]
)
def test_F94_hash_seeds_and_threads(case, finish, env):
    case.env |= {key: str(value) for key, value in env.items()}
    finish(case)


@pytest.mark.quick
def test_F95_a_checkpoint_of_another_user(interrupted):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(interrupted.checkpoint, 65534, 65534)
    done = interrupted.run()
    wanted = f"{interrupted.checkpoint}: is not a regular file of this user; start over with "
    assert done.stderr.decode() == f"spam-batch: error: {wanted}--restart\n"
    assert done.returncode == 65


def test_F95_a_part_file_of_another_user(interrupted):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(interrupted.part, 65534, 65534)
    done = interrupted.run()
    wanted = f"{interrupted.part}: is not a file that this user alone has, so the interrupted run"
    assert done.stderr.decode() == (
        f"spam-batch: error: {wanted} cannot resume; start over with --restart\n"
    )
    assert done.returncode == 65


@pytest.mark.quick
def test_the_log_as_json(case):
    done = case.run("--log-format", "json")
    lines = [json.loads(line) for line in done.stderr.decode().splitlines()]
    assert done.returncode == 3
    assert {tuple(line) for line in lines[1:]} == {("time", "level", "message")}
    assert lines[0]["message"] == "61 records in, 59 rows out, 2 rejects: 32 ham, 27 spam"
    assert lines[0]["counts"] == {
        "records": 61, "rows": 59, "rejects": 2, "labels": {"ham": 32, "spam": 27}
    }  # fmt: skip
    (case.folder / "in.csv").write_bytes(b"")
    done = case.run("--log-format", "json")
    (line,) = [json.loads(line) for line in done.stderr.decode().splitlines()]
    del line["time"]
    assert line == {
        "level": "error",
        "message": "in.csv: the file is empty; its first line must name the columns",
        "exit": 65,
    }


def test_no_text_of_a_message_is_ever_said(case):
    """A word that stands in every row, good or bad, is in no message, whatever goes wrong."""
    secret = b"xyzzy"
    rows = b"".join(b"%d,%b %d,x\n" % (row, secret, row) for row in range(30))
    for data, env in (
        (rows, {}),
        (rows, {"STUB_RAISE": "xyzzy 9"}),
        (rows + secret + b"\n", {}),
        (rows + b'1,"' + secret + b",x\n", {}),
        (rows + b"1," + secret + b",x," + secret, {}),
    ):
        (case.folder / "in.csv").write_bytes(b"id,text,x\n" + data)
        for args in (["--max-rejects", "0"], ["--max-rejects", "9"], ["--log-format", "json"]):
            assert secret not in case.run("--restart", *args, env=env).stderr
