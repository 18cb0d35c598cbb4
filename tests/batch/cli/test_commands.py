"""``spam-batch`` as it is typed: files, pipes, help, and what is said when it goes wrong."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from batch.cli.commands import main
from batch.version import __version__

TABLE = b'id,text\n1,Do you have time\n2,"a, b"\n'
LABELLED = b'id,text,label,score\n1,Do you have time,ham,0.017986\n2,"a, b",spam,0.998499\n'


@pytest.fixture
def invoke(bundle, tmp_path, monkeypatch):
    """Runs ``spam-batch`` with the stub bundle in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(command, *args, **options):
        args = [command, *map(str, args), "--bundle", str(bundle), "--device", "cpu"]
        return CliRunner().invoke(main, args, **options)

    return run


def test_labels_a_file(invoke, tmp_path, bundle):
    (tmp_path / "in.csv").write_bytes(TABLE)
    result = invoke("classify", "in.csv", "--out", "out.csv", "--threads", 1)
    assert (result.exit_code, result.stdout) == (0, "")
    assert (tmp_path / "out.csv").read_bytes() == LABELLED
    lines = result.stderr.splitlines()
    assert lines[0] == "2 records in, 2 rows out: 1 ham, 1 spam"
    assert lines[1] == "text column: text"
    assert (
        lines[2].endswith(" s; stub") and " rows a second on cpu in fp32 (1 thread), " in lines[2]
    )
    assert lines[3:] == ["weights: none, the graph is a sum", "written: out.csv"]


def test_the_scores_of_this_file_are_the_graphs(stub_score, tokenizer):
    assert tokenizer.encode("a, b") == [64, 11, 275]  # 64 + 11 + 81 is 33 modulo 41
    assert f"{stub_score([64, 11, 275]):.6f}" == f"{1 / (1 + math.exp(-6.5)):.6f}" == "0.998499"
    assert f"{stub_score([5211, 345, 423, 640]):.6f}" == "0.017986"


def test_quiet_says_nothing(invoke, tmp_path):
    (tmp_path / "in.csv").write_bytes(TABLE)
    result = invoke("classify", "in.csv", "--out", "out.csv", "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    assert (tmp_path / "out.csv").read_bytes() == LABELLED


def test_quiet_says_what_was_rejected(invoke, tmp_path):
    (tmp_path / "in.csv").write_bytes(TABLE + b"too,many,fields,here,really\n")
    result = invoke("classify", "in.csv", "--out", "out.csv", "--quiet", "--max-rejects", "1")
    assert (result.exit_code, result.output) == (3, f"rejected: {tmp_path}/out.rejects.csv\n")


def test_columns_in_the_order_given(invoke):
    args = ("classify", "-", "--out", "-", "--quiet")
    result = invoke(*args, "--columns", "truncated, tokens,label", input=b"text\n" + b"a " * 40)
    assert result.stdout_bytes == b"text,truncated,tokens,label\n" + b"a " * 40 + b",true,32,ham\n"


@pytest.mark.parametrize("name", ["in.tsv", "IN.TSV"])
def test_a_tsv_file_has_tabs(invoke, tmp_path, name):
    (tmp_path / name).write_bytes(b"id\ttext\n1\tDo you have time\n")
    result = invoke("classify", name, "--out", "-", "--quiet")
    assert result.stdout_bytes == b"id\ttext\tlabel\tscore\n1\tDo you have time\tham\t0.017986\n"


@pytest.mark.parametrize(("option", "byte"), [("\\t", b"\t"), ("tab", b"\t"), (";", b";")])
def test_the_delimiter_as_it_is_typed(invoke, option, byte):
    args = ("classify", "-", "--out", "-", "--quiet", "--delimiter", option)
    result = invoke(*args, input=b"id,text\n1,Do you have time\n".replace(b",", byte))
    wanted = b"id,text,label,score\n1,Do you have time,ham,0.017986\n"
    assert result.stdout_bytes == wanted.replace(b",", byte)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("", "'' is not one character"),
        ("ab", "'ab' is not one character"),
        ("£", "delimiter must be one byte that is not a line break, not b'\\xc2\\xa3'"),
        ("\n", "delimiter must be one byte that is not a line break, not b'\\n'"),
        ('"', "quote and delimiter are both b'\"'; they must differ"),
        ("0", "'0' also occurs in the columns that we add"),
        (".", "'.' also occurs in the columns that we add"),
        ("l", "'l' also occurs in the columns that we add"),
    ],
)
def test_a_delimiter_that_is_none(invoke, option, message):
    result = invoke("classify", "-", "--out", "-", "--delimiter", option, input=TABLE)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith(f"\nError: --delimiter: {message}\n")


@pytest.mark.parametrize(
    ("args", "exit_code", "message"),
    [
        (("none.csv", "--out", "o"), 66, "cannot read none.csv: No such file or directory"),
        ((".", "--out", "o"), 66, ". is a folder; to label its files, type --out-dir DIR"),
        (("in.csv", "--out", "."), 73, ". is a folder; give the name of a file"),
        (("in.csv", "--out", "in.csv"), 73, "in.csv is the input in.csv; give another --out"),
        (
            ("in.csv", "--out", "o", "--text-column", "Text"),
            65,
            "in.csv: the text column 'Text' is not there; columns: 'id', 'text'",
        ),
        (
            ("in.csv", "--out", "o", "--delimiter", ";"),
            65,
            "in.csv: no text column found; the delimiter ',' fits; type: --delimiter ,",
        ),
        (
            ("in.csv", "--out", "o", "--columns", "x"),
            2,
            "--columns: there is no 'x'; choose from label, score, probability, tokens, "
            "truncated, reason, stage",
        ),
        (("in.csv", "--out", "/dev/full"), 74, "writing /dev/full: No space left on device"),
    ],
)
def test_what_goes_wrong(invoke, tmp_path, args, exit_code, message):
    (tmp_path / "in.csv").write_bytes(TABLE)
    result = invoke("classify", *args)
    assert result.stderr == f"spam-batch: error: {message}\n"
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert os.listdir(tmp_path) == ["in.csv"]
    assert (tmp_path / "in.csv").read_bytes() == TABLE


def test_no_bundle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = (
        "models/spam: no such bundle; copy one there, or make one with: "
        "spam-train fit && spam-export bundle --out models/spam"
    )
    for args in (["text", "hello"], ["classify", "-", "--out", "labeled.csv"]):
        result = CliRunner().invoke(main, args, input=TABLE)
        assert result.stderr == f"spam-batch: error: {message}\n"
        assert (result.exit_code, os.listdir(tmp_path)) == (78, [])


def test_a_bundle_that_was_not_verified(make_bundle):
    folder = make_bundle(files={"verify.json": None})
    args = ["text", "hello", "--bundle", str(folder)]
    result = CliRunner().invoke(main, args)
    hint = "run spam-export verify, or give --allow-unverified (allow_unverified=True)"
    assert result.stderr == f"spam-batch: error: {folder}: was never verified; {hint}\n"
    assert result.exit_code == 78
    assert CliRunner().invoke(main, [*args, "--allow-unverified"]).exit_code == 0


def test_one_message(invoke):
    result = invoke("text", "Do you have time")
    assert (result.exit_code, result.output) == (0, "ham\t0.017986\n")


def test_one_message_where_the_gpu_could_not_be_had(invoke, monkeypatch, classifier):
    monkeypatch.setattr("batch.model.classifier.Classifier.load", lambda *_, **__: classifier)
    monkeypatch.setattr(classifier.session, "note", "no GPU; running on the CPU")
    result = invoke("text", "Do you have time")
    assert (result.exit_code, result.stdout) == (0, "ham\t0.017986\n")
    assert result.stderr == "WARNING: no GPU; running on the CPU\n"


@pytest.mark.parametrize("command", [(), *((name,) for name in main.commands)])
def test_help_has_an_example(command):
    result = CliRunner().invoke(main, [*command, "--help"])
    assert (result.exit_code, result.stderr) == (0, "")
    example = result.stdout.split("Example:\n")[1].split("\n")[0]
    assert example.strip().startswith(" ".join(("spam-batch", *command)))


def test_the_version():
    result = CliRunner().invoke(main, ["--version"])
    assert (result.exit_code, result.output) == (0, f"spam-batch, version {__version__}\n")


def test_pipes_from_another_folder(run_cli, bundle, tmp_path):
    args = ("classify", "-", "--out", "-", "--bundle", bundle, "--quiet")
    done = run_cli("batch", *args, input=TABLE, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, LABELLED, b"")
    assert os.listdir(tmp_path) == []


def test_cron(bundle, tmp_path):
    """No terminal, no HOME, no locale, streams closed: the same bytes, and nothing aside."""
    (tmp_path / "in.csv").write_bytes(TABLE)
    command = [sys.executable, "-m", "batch", "classify", "in.csv", "--out", "out.csv"]
    command += ["--bundle", str(bundle)]
    closing = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command]
    subprocess.run(closing, cwd=tmp_path, env={}, check=True, timeout=120)
    assert (tmp_path / "out.csv").read_bytes() == LABELLED
    assert sorted(os.listdir(tmp_path)) == ["in.csv", "out.csv", "out.csv.run.json"]


def test_a_reader_that_goes_away(bundle):
    command = [sys.executable, "-m", "batch", "classify", "-", "--out", "-", "--quiet"]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*command, "--bundle", str(bundle)],
            input=TABLE, stdout=writing, stderr=subprocess.PIPE, timeout=120,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_standard_output_is_full(bundle):
    command = [sys.executable, "-m", "batch", "classify", "-", "--out", "-"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*command, "--bundle", str(bundle)],
            input=TABLE, stdout=full, stderr=subprocess.PIPE, timeout=120,
        )  # fmt: skip
    wanted = b"spam-batch: error: writing standard output: No space left on device\n"
    assert done.stderr.startswith(wanted)
    assert b"Traceback" not in done.stderr
    assert done.returncode == 74


@pytest.mark.parametrize("args", [["--help"], ["classify", "--help"], ["--version"]])
def test_help_that_nobody_reads(args):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-X", "dev", "-m", "batch", *args]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=120)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_reader_that_has_enough(bundle, tmp_path, size):
    """``| head -1``: quiet, whether the pipe breaks at the first rows or at later ones."""
    (tmp_path / "in.csv").write_bytes(b"text\n" + b"message\n" * 20_000)
    command = [sys.executable, "-X", "dev", "-m", "batch", "classify", "in.csv", "--out", "-"]
    with subprocess.Popen(
        [*command, "--bundle", str(bundle), "--threads", "1", "--quiet"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert len(process.stdout.read(size)) == size
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")


@pytest.mark.parametrize(
    ("number", "said", "exit_code"),
    [
        (signal.SIGINT, "\nspam-batch: error: interrupted\n", 130),
        (signal.SIGTERM, "spam-batch: error: stopped by SIGTERM\n", 143),
        (signal.SIGHUP, "spam-batch: error: stopped by SIGHUP\n", 129),
    ],
)
def test_a_signal_leaves_the_old_file(begun, tmp_path, number, said, exit_code):
    process = begun()
    process.send_signal(number)
    _, found = process.communicate(timeout=120)
    assert (found.decode(), process.returncode) == (said, exit_code)
    assert os.listdir(tmp_path) == ["out.csv"]
    assert (tmp_path / "out.csv").read_bytes() == b"old\n"


def test_a_signal_that_was_ignored_stays_ignored(begun, tmp_path):
    process = begun("nohup")
    process.send_signal(signal.SIGHUP)
    _, said = process.communicate(timeout=120)  # ends the input
    assert process.returncode == 0, said
    assert (tmp_path / "out.csv").read_bytes().count(b"\n") == 3 * 8000
    assert sorted(os.listdir(tmp_path)) == ["out.csv", "out.csv.run.json"]


@pytest.fixture
def begun(bundle, tmp_path):
    """Starts a run over an old file, which waits for more input once its new file is begun."""
    with contextlib.ExitStack() as stack:

        def begin(*before: str) -> subprocess.Popen:
            (tmp_path / "out.csv").write_bytes(b"old\n")
            command = [*before, sys.executable, "-m", "batch", "classify", "-"]
            command += ["--out", str(tmp_path / "out.csv"), "--bundle", str(bundle)]
            command += ["--threads", "1"]  # two wait for each other where other work runs
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
            )
            stack.callback(process.kill)
            process.stdin.write(TABLE * 8000)  # more than one read of it asks for
            process.stdin.flush()
            while not any(name.endswith(".part") for name in os.listdir(tmp_path)):
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.01)
            return process

        yield begin


@pytest.mark.parametrize("command", ["text", "estimate", "classify"])
def test_the_digest_is_that_of_the_bundle_that_is_loaded(
    make_bundle, tmp_path, monkeypatch, command
):
    """Somebody replaces the bundle between the check of its digest and the load."""
    from batch.model import bundle as module

    folder, other = make_bundle(), make_bundle(threshold=0.6)
    table = tmp_path / "in.csv"
    table.write_bytes(b"text\nDo you have time\n")
    real = module.open_bundle

    def open_then_replace(*args):
        found = real(*args)
        os.replace(other / "bundle.json", folder / "bundle.json")
        return found

    monkeypatch.setattr(module, "open_bundle", open_then_replace)
    digest = real(folder).digest
    more = ["--out", str(tmp_path / "out.csv")] if command == "classify" else []
    args = [command, str(table), *more, "--bundle", str(folder), "--expect-digest", digest]
    result = CliRunner().invoke(main, args)
    assert (result.exit_code, result.stdout) == (78, "")
    assert result.stderr == (
        f"spam-batch: error: {folder}: was replaced while it was loaded; run again\n"
    )
    monkeypatch.undo()
    now = real(folder).digest
    assert CliRunner().invoke(main, args).stderr == (
        f"spam-batch: error: {folder / 'bundle.json'}: SHA-256 is {now}, --expect-digest says "
        f"{digest}\n"
    )
    assert CliRunner().invoke(main, [*args[:-1], now]).exit_code == 0
