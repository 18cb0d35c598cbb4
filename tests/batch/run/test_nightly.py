"""examples/nightly, as cron and systemd run it: no environment, no terminal, no standard input."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "nightly"
SCRIPT = FOLDER / "label_new_dumps.sh"
TABLE = b"id,text\n1,Do you have time\n"
LABELLED = b"id,text,label,score\n1,Do you have time,ham,0.017986\n"


@dataclass
class Site:
    """A machine that runs the example: the script with its variables changed, and its folders."""

    folder: Path
    script: Path

    def __getattr__(self, name: str) -> Path:
        return self.folder / name

    def command(self, *args: str) -> None:
        """Make ``spam-batch`` of this site run Python with ``args``."""
        path = self.folder / "bin" / "spam-batch"
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {" ".join(args)} "$@"\n', "utf-8")
        path.chmod(0o755)

    def start(self) -> subprocess.Popen:
        return subprocess.Popen(
            ["/bin/sh", "-c", 'exec "$0" <&-', self.script], env={}, cwd="/",
            start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self) -> tuple[int, list[str]]:
        """Exit status, and the lines that a person gets."""
        process = self.start()
        said = "".join(process.communicate(timeout=300))
        return process.returncode, said.splitlines()

    def read_log(self) -> list[dict]:
        """The last run's."""
        path = max((self.folder / "logs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]

    def write(self, name: str, data: bytes = TABLE) -> None:
        (self.folder / "dumps" / name).write_bytes(data)


@pytest.fixture
def site(tmp_path: Path, bundle: Path) -> Site:
    folder = tmp_path / "one site"
    for name in ("bin", "dumps", "labeled"):
        (folder / name).mkdir(parents=True)
    (folder / "bundle").symlink_to(bundle)
    text = SCRIPT.read_text("utf-8")
    for name in ("bundle", "dumps", "labeled", "logs"):
        text, count = re.subn(f'^{name}=".*"', f'{name}="{folder / name}"', text, flags=re.M)
        assert count == 1
    script = folder / SCRIPT.name
    script.write_text(text.replace("/opt/spam-batch/.venv/bin", str(folder / "bin")), "utf-8")
    script.chmod(0o755)
    found = Site(folder, script)
    found.command("-m", "batch")
    return found


def test_it_labels_only_what_is_new(site):
    site.write("first dump.csv")
    assert site.run() == (0, [])
    first = site.labeled / "first dump.csv"
    assert first.read_bytes() == LABELLED
    assert stat.S_IMODE(first.stat().st_mode) == 0o640
    before = first.stat()
    site.write("second dump.csv")
    site.write(".third.csv", b"id,text\n1,half a li")  # still copied
    assert site.run() == (0, [])
    assert (site.labeled / "second dump.csv").read_bytes() == LABELLED
    assert first.stat() == before
    assert sorted(path.name for path in site.labeled.glob("[!.]*.csv")) == [
        "first dump.csv", "second dump.csv"
    ]  # fmt: skip
    first_said, *_, last_said = (line["message"] for line in site.read_log())
    assert first_said == f"{site.dumps}/first dump.csv: was labelled already"
    assert last_said == "2 files: 1 labelled, 1 skipped, 0 failed"
    assert len(list(site.logs.iterdir())) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in site.logs.iterdir()} == {0o640}


def test_a_second_run_beside_the_first_ends_with_75(site, stub, stub_bundle):
    site.bundle.unlink()
    site.bundle.symlink_to(stub_bundle)
    site.command(f'"{stub.__file__}"')
    site.write("a.csv", b"id,text\n" + b"1,a message\n" * 100)
    slow = site.script.read_text("utf-8").replace("umask 027", "export STUB_SLEEP=600")
    slow_script = site.script.with_name("slow.sh")
    slow_script.write_text(slow, "utf-8")
    slow_script.chmod(0o755)
    with Site(site.folder, slow_script).start() as process:
        while not (site.labeled / ".lock").exists():
            assert process.poll() is None
            time.sleep(0.01)
        status, said = site.run()
        (line,) = map(json.loads, said)
        message = f"another run is writing {site.labeled}; wait until it ends, or stop it"
        assert (status, line["exit"], line["message"]) == (75, 75, message)
        assert process.poll() is None
        os.killpg(process.pid, 15)
        while (site.labeled / ".lock").exists():  # the shell does not wait for it
            time.sleep(0.01)
    assert site.run() == (0, [])
    assert (site.labeled / "a.csv").read_bytes().count(b"\n") == 101


def test_half_a_dump_is_told_and_labelled_when_it_is_whole(site):
    site.write("a.csv", TABLE + b"2,Do you")
    site.write("b.csv", TABLE + b"2")
    status, said = site.run()
    (line,) = map(json.loads, said)
    assert (status, line["level"], line["message"]) == (
        65,
        "error",
        f"error: {site.dumps}/b.csv: line 3, byte offset 27: has 1 field, expected 2; to set bad "
        "records aside, type --max-rejects 10, or 1%",
    )
    for name in ("a.csv", "b.csv"):
        site.write(name, TABLE + TABLE.splitlines(True)[1])
    assert site.run() == (0, [])
    for name in ("a.csv", "b.csv"):
        assert (site.labeled / name).read_bytes() == LABELLED + LABELLED.splitlines(True)[1]


def test_another_bundle_and_back(site, bundle, make_bundle):
    site.write("a.csv")
    assert site.run() == (0, [])
    other = make_bundle(weights=(1.0, -1.0))
    for chosen, wanted in ((other, b",spam,0.982014"), (bundle, b",ham,0.017986")):
        new = site.folder / "bundle.new"
        new.symlink_to(chosen)
        new.rename(site.bundle)
        assert site.run() == (0, [])
        assert (site.labeled / "a.csv").read_bytes().endswith(wanted + b"\n")


def test_what_cannot_work_is_one_line_and_its_exit_status(site):
    status, said = site.run()
    (line,) = map(json.loads, said)
    assert (status, line["exit"]) == (66, 66)
    assert line["message"].startswith(f"{site.dumps}: has no files to label; their names end in ")
    site.bundle.unlink()
    site.write("a.csv")
    status, said = site.run()
    (line,) = map(json.loads, said)
    assert (status, line["message"]) == (
        78,
        f"{site.bundle}: no such bundle; copy one there, or make one with: "
        f"spam-train fit && spam-export bundle --out '{site.bundle}'",
    )  # fmt: skip
    (site.bin / "spam-batch").unlink()
    status, said = site.run()
    assert status == 127 and len(said) == 1 and "spam-batch" in said[0]
    shutil.rmtree(site.logs)
    site.logs.write_bytes(b"")
    status, said = site.run()
    assert status == 73 and len(said) == 1 and str(site.logs) in said[0]


def test_the_log_is_kept_for_sixty_days(site):
    site.write("a.csv")
    site.logs.mkdir()
    names = ["2026-09-29-031500-17.log", "2026-09-26-031500-18.log", "mail.log"]
    for days, name in zip((59, 62, 62), names, strict=True):
        path = site.logs / name
        path.write_bytes(b"")
        then = time.time() - days * 24 * 3600
        os.utime(path, (then, then))
    assert site.run() == (0, [])
    assert [(site.logs / name).exists() for name in names] == [True, False, True]


def read_variable(name: str) -> str:
    return re.search(f'^{name}="(.*)"', SCRIPT.read_text("utf-8"), re.M)[1]


def test_the_crontab_runs_the_script():
    (line,) = re.findall(r"^[\d*].*", (FOLDER / "crontab").read_text("utf-8"), re.M)
    *times, command = line.split(None, 5)
    assert times == ["15", "3", "*", "*", "*"]
    assert command == f"/opt/spam-batch/examples/nightly/{SCRIPT.name}"
    assert os.access(SCRIPT, os.X_OK)


def test_the_units_are_what_systemd_takes(tmp_path, site):
    service = (FOLDER / "spam-batch.service").read_text("utf-8")
    assert f"ExecStart=/opt/spam-batch/examples/nightly/{SCRIPT.name}\n" in service
    assert f"ReadWritePaths={read_variable('labeled')} {read_variable('logs')}\n" in service
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    shutil.copy(FOLDER / "spam-batch.timer", tmp_path)
    shutil.copy(SCRIPT, tmp_path)  # without a space: systemd splits there
    service = service.replace("/opt/spam-batch/examples/nightly", str(tmp_path))
    (tmp_path / "spam-batch.service").write_text(service, "utf-8")
    units = [str(tmp_path / f"spam-batch.{kind}") for kind in ("service", "timer")]
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
