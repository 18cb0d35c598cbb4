"""Which device a run is on, where only the load of the classifier tells."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from batch.cli.commands import main
from batch.errors import InternalError
from batch.run.windows import classify_window

TABLE = b"id,text\n" + b"".join(b'%d,"message, %d"\n' % (row, row) for row in range(20))


class TestAGpuThatIsGone:
    """With ``--device auto`` a run begins on a GPU, and the GPU does not work the next time."""

    ARGS = ("classify", "in.csv", "--out", "out.csv", "--threads", "1")

    @pytest.fixture
    def run(self, with_int8, tmp_path, monkeypatch):
        """Runs ``spam-batch classify``; the first run, which is interrupted, was on a GPU."""
        monkeypatch.chdir(tmp_path)
        (tmp_path / "in.csv").write_bytes(TABLE)
        bundle = str(with_int8(device="cuda"))

        def run(*args):
            result = CliRunner().invoke(main, [*self.ARGS, "--bundle", bundle, *args])
            return result.exit_code, result.stderr.splitlines()

        return run

    @pytest.fixture
    def begun(self, run, fake_cuda, monkeypatch):
        monkeypatch.setattr("batch.run.windows.WINDOW", 5)
        fake_cuda()

        def stop(*_):
            monkeypatch.setattr("batch.run.windows.classify_window", real)
            raise InternalError("stopped")

        real, windows = classify_window, []

        def classify_some(*args):
            windows.append(args)
            return real(*args) if len(windows) < 3 else stop()

        monkeypatch.setattr("batch.run.windows.classify_window", classify_some)
        assert run("--device", "auto") == (70, [
            f"kept 10 records of {os.getcwd()}/in.csv; the same command resumes from there",
            "spam-batch: error: stopped",
        ])  # fmt: skip
        settings = json.loads(Path(".out.csv.checkpoint.json").read_bytes())["resume_key"]
        assert settings["settings"]["--device"] == "cuda"
        assert settings["settings"]["--precision"] == "int8"
        return run

    def test_rows_of_two_devices_are_not_mixed(self, begun, fake_cuda):
        fake_cuda(RuntimeError("no memory"))
        kept = f"{os.getcwd()}/.out.csv.checkpoint.json"
        assert begun("--device", "auto") == (2, [
            f"spam-batch: error: out.csv: an interrupted run is kept in {kept}, but --device was "
            "'cuda' and is 'cpu' now; give it as before, or start over with --restart"
        ])  # fmt: skip
        assert begun("--device", "cuda") == (78, [
            "resuming at line 12 of in.csv, after 10 records",
            f"kept 10 records of {os.getcwd()}/in.csv; the same command resumes from there",
            "spam-batch: error: onnxruntime cannot load the model on cuda: no memory"
        ])  # fmt: skip
        status, lines = begun("--device", "auto", "--restart")
        assert (status, lines[-2]) == (0, (
            "WARNING: onnxruntime cannot load the model on cuda: no memory; running on the CPU"
        ))  # fmt: skip
        made = json.loads(Path("out.csv.run.json").read_bytes())
        assert (made["bundle"]["precision"], made["run"]["device"]) == ("fp32", "cpu")

    def test_where_it_works_again_the_run_resumes(self, begun, fake_cuda):
        fake_cuda()
        status, lines = begun("--device", "cuda")
        assert status == 0
        assert lines[0].startswith("resuming at line ")
        made = json.loads(Path("out.csv.run.json").read_bytes())
        assert (made["bundle"]["precision"], made["run"]["device"]) == ("int8", "cuda")
