"""Faulty runs of the real command with a stub model, and what must hold after each of them.

Only those that are marked ``quick`` are part of ``make test``; ``make test-faults`` runs all.
A test's name begins with the case of the fault checklist that it is for (F01, F02, ...). The
families are the first words of the files: crash, disk, input, formats, bundle, environment.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

from batch.cli.commands import main

SCRIPT = Path(__file__).with_name("stub_cli.py")
OLD = b"the old file\n"
WHOLE = ["in.csv", "out.csv", "out.csv.run.json", "out.rejects.csv"]
HEADER = b"id,text,x\r\n"
# Two bad records, one multi-line, bytes that are no UTF-8, a blank line, no final line end.
ROWS = [b'%d,"message, ""%d""",x\r\n' % (row, row % 7) for row in range(60)]
ROWS[3] = b"3,too,many,fields\r\n"
ROWS[20] = b'20,"two\r\nlines",x\n'
ROWS[33] = b'33,"not" closed,x\r\n'
ROWS[40] = b"40,caf\xe9,\xff\x00\r\n\r\n"
TABLE = HEADER + b"".join(ROWS) + b"60,last,x"


@dataclass
class Case:
    """A folder with an input and perhaps an old output, and the command that labels it."""

    folder: Path
    bundle: Path
    args: list[str] = field(default_factory=lambda: ["--max-rejects", "2"])
    env: dict[str, str] = field(default_factory=dict)
    has_old: bool = True
    started: list[subprocess.Popen] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "in.csv").write_bytes(TABLE)
        if self.has_old:
            self.out.write_bytes(OLD)

    @property
    def out(self) -> Path:
        return self.folder / "out.csv"

    @property
    def rejects(self) -> Path:
        return self.folder / "out.rejects.csv"

    @property
    def names(self) -> list[str]:
        return sorted(os.listdir(self.folder))

    @property
    def part(self) -> Path:
        (name,) = (n for n in self.names if n.endswith(".part") and ".rejects." not in n)
        return self.folder / name

    @property
    def checkpoint(self) -> Path:
        return self.folder / ".out.csv.checkpoint.json"

    def command(self, *args: object) -> list[str]:
        script = [sys.executable, str(SCRIPT), "classify", "in.csv", "--out", "out.csv"]
        return [*script, "--bundle", str(self.bundle), *self.args, *map(str, args)]

    def environment(self, **env: object) -> dict[str, str]:
        # A small window and a commit after each, so that there is much to go wrong.
        ours = {"STUB_WINDOW": "8", "STUB_COMMIT": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        given = {key: str(value) for key, value in env.items()}
        return {**os.environ, **ours, **self.env, **given}

    def run(self, *args: object, before: list[str] | None = None, env=None, **options):
        """Run the command, behind ``before`` (strace or the like), to its end."""
        options = {"capture_output": True, "timeout": 600, "cwd": self.folder, **options}
        command = [*(before or []), *self.command(*args)]
        return subprocess.run(command, env=self.environment(**(env or {})), **options)

    def start(self, *args: object, env=None, **options) -> subprocess.Popen:
        options = {"stderr": subprocess.PIPE, "cwd": self.folder, **options}
        command, env = self.command(*args), self.environment(**(env or {}))
        self.started.append(subprocess.Popen(command, env=env, **options))
        return self.started[-1]

    @property
    def gate(self) -> Path:
        """The file that :meth:`hold` makes a run wait for; not in the folder."""
        return self.folder.with_name(f"{self.folder.name}.gate")

    def hold(self, *args: object, at: int = 1, env=None, **options) -> subprocess.Popen:
        """Start a run, and return when it waits in its window number ``at``."""
        self.gate.write_bytes(b"")
        env = {"STUB_HOLD": self.gate, "STUB_HOLD_AT": at, **(env or {})}
        process = self.start(*args, env=env, **options)
        while self.gate.stat().st_size == 0:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        return process

    def release(self) -> None:
        """Let the run that waits go on."""
        self.gate.unlink()

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()
            for stream in filter(None, (process.stdin, process.stdout, process.stderr)):
                stream.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def check_untouched(self) -> None:
        """What holds after each fault: the output is old or absent, the input as it was."""
        assert (self.folder / "in.csv").read_bytes() == TABLE
        assert not self.rejects.exists()
        assert self.out.read_bytes() == OLD if self.has_old else not self.out.exists()


@pytest.fixture(scope="session")
def wanted(tmp_path_factory, stub_bundle) -> tuple[bytes, bytes]:
    """Output and rejects of a run that nothing disturbs."""
    case = Case(tmp_path_factory.mktemp("wanted"), stub_bundle)
    done = case.run()
    assert (done.returncode, done.stdout) == (3, b""), done.stderr
    assert case.names == WHOLE
    return case.out.read_bytes(), case.rejects.read_bytes()


@pytest.fixture
def make_case(tmp_path: Path, stub_bundle: Path) -> Callable[..., Case]:
    """Makes cases, each in a folder of its own that is gone after the test."""
    made = []

    def make(**options) -> Case:
        folder = tmp_path / f"case{len(made)}"
        folder.mkdir()
        made.append(Case(folder, stub_bundle, **options))
        return made[-1]

    yield make
    for case in made:
        case.end()


@pytest.fixture
def case(make_case) -> Case:
    return make_case()


@pytest.fixture
def finish(wanted):
    """Gives the same command again, undisturbed: the output is whole, and nothing is left."""

    def run(case: Case, *args: object) -> subprocess.CompletedProcess:
        done = case.run(*args)
        assert done.returncode == 3, done.stderr
        assert (case.out.read_bytes(), case.rejects.read_bytes()) == wanted
        assert case.names == WHOLE
        assert (case.folder / "in.csv").read_bytes() == TABLE
        return done

    return run


@pytest.fixture
def interrupted(case) -> Case:
    """A case whose run was interrupted in its second window, so that one is kept."""
    process = case.hold(at=2)
    assert case.checkpoint.exists()
    process.send_signal(signal.SIGTERM)
    assert b"stopped by SIGTERM" in process.communicate(timeout=120)[1]
    assert process.returncode == 143
    case.check_untouched()
    return case


@pytest.fixture
def label(tmp_path, stub, stub_bundle, monkeypatch):
    """Labels bytes; returns the exit status, the last line that was said, and the output.

    In this process, with the stub for a model, so that each case takes milliseconds.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("batch.run.windows.WINDOW", 8)
    monkeypatch.setattr("batch.model.classifier.Classifier.load", stub.StubClassifier.load)

    def run(data: bytes | None, *args, name="in.csv", out="out.csv"):
        if data is not None:
            (tmp_path / name).write_bytes(data)
        command = ["classify", name, "--out", out, "--bundle", str(stub_bundle)]
        result = CliRunner().invoke(main, [*command, *map(str, args), "--restart", "--quiet"])
        assert "Traceback" not in result.output
        if data is not None:
            assert (tmp_path / name).read_bytes() == data
        path = tmp_path / out
        found = path.read_bytes() if path.is_file() else None
        said = result.stderr.splitlines()[-1:] or [""]
        return result.exit_code, said[0].removeprefix("spam-batch: error: "), found

    return run


@pytest.fixture(scope="session")
def score_of() -> Callable[[str], bytes]:
    """What the stub gives a text: its label and score, as they stand in the output."""

    def find(text: str) -> bytes:
        sum_ = zlib.crc32(text.encode("utf-8", "surrogatepass")) % 10**6
        return b"%b,%.6f" % (b"spam" if sum_ >= 500_000 else b"ham", sum_ / 10**6)

    return find


@pytest.fixture(scope="session")
def strace() -> Callable[..., list[str]]:
    """``strace("write", "signal=KILL:when=3")``: what to run a command behind."""
    tried = "there is no strace"
    if shutil.which("strace"):
        command = ["strace", "-f", "-o", os.devnull, "-e", "inject=fsync:error=EIO", "true"]
        done = subprocess.run(command, capture_output=True, text=True)
        tried = done.returncode and f"strace may not trace here: {done.stderr.strip()}"
    if tried:
        pytest.skip(tried)

    def inject(calls: str, how: str, *paths: Path) -> list[str]:
        named = [part for path in paths for part in ("-P", str(path))]
        # Not with --seccomp-bpf: strace 6.1 then injects no signal.
        quiet = ["strace", "-f", "-qq", "-o", os.devnull, *named]
        return [*quiet, "-e", f"trace={calls}", "-e", f"inject={calls}:{how}"]

    return inject


@pytest.fixture(scope="session")
def unshare() -> list[str]:
    """What gives a command mounts of its own, as root within them."""
    tried = "there is no unshare"
    if shutil.which("unshare"):
        command = ["unshare", "-Urm", "mount", "-t", "tmpfs", "-o", "size=64k", "none", "/mnt"]
        done = subprocess.run(command, capture_output=True, text=True)
        tried = done.returncode and f"no tmpfs can be mounted here: {done.stderr.strip()}"
    if tried:
        pytest.skip(tried)
    return ["unshare", "-Urm"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if SCRIPT.parent in item.path.parents and not item.get_closest_marker("quick"):
            item.add_marker(pytest.mark.faults)


def pytest_terminal_summary(terminalreporter) -> None:
    """A count of the cases of each family, and of the faulty runs within them."""
    cases: dict[str, Counter] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.getreports(outcome):
            if "tests/faults/" in report.nodeid and (report.when == "call" or outcome != "passed"):
                path = Path(report.nodeid.split("::")[0])
                inner = path.parent.name
                family = path.stem.split("_")[1] if inner == "faults" else inner
                counts = cases.setdefault(family, Counter())
                counts[outcome] += 1
                counts["runs"] += dict(report.user_properties).get("runs", 1)
    if not cases:
        return
    terminalreporter.section("fault cases")
    total = sum(cases.values(), Counter())
    for family, counts in [*sorted(cases.items()), ("all", total)]:
        bad = counts["failed"] + counts["error"]
        terminalreporter.write_line(
            f"{family:12} {counts['passed']:4} cases passed, {bad} failed, "
            f"{counts['skipped']} skipped; {counts['runs']} faulty runs"
        )
