"""``spam-train fit`` on a few labelled lines."""

import json
from pathlib import Path

import pytest

from trainer.cli import main


@pytest.fixture
def fit(invoke, bpe_file: Path, tmp_path: Path, monkeypatch):
    """Run ``fit`` on files of these contents, in their folder; returns status, stderr, config."""
    monkeypatch.chdir(tmp_path)

    def run(files: dict[str, str | bytes], *args: object):
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            Path(name).write_bytes(data)
        given = [word for name in files for word in ("--data", name)]
        done = invoke(
            main, "fit", "--weights", "random", "--model", "starter", "--bpe", bpe_file,
            "--cache", "cache", "--out", "run", "--epochs", 1, "--device", "cpu", "--quiet",
            "--split", "book",  # these texts differ in a number only, so they are near copies
            *given, *args,
        )  # fmt: skip
        path = Path("run/config.json")
        found = json.loads(path.read_bytes()) if path.exists() else None
        return done.exit_code, done.stderr, found

    return run
