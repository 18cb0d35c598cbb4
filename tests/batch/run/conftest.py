"""A folder to label, and the command that labels it."""

import os

import pytest
from click.testing import CliRunner

from batch.cli.commands import main


@pytest.fixture
def loads(monkeypatch, classifier) -> list[str]:
    """Gets an element whenever the classifier is loaded."""
    counted: list[str] = []

    def load(*_, **__):
        counted.append("loaded")
        return classifier

    monkeypatch.setattr("batch.model.classifier.Classifier.load", load)
    return counted


@pytest.fixture
def run(bundle, tmp_path, monkeypatch, loads):
    """Runs ``spam-batch classify``; returns the exit status and the lines that were said."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("in")
    os.mkdir("out")

    def run(*args):
        args = ["classify", *map(str, args), "--bundle", str(bundle)]
        result = CliRunner().invoke(main, args)
        assert result.stdout == ""
        return result.exit_code, result.stderr.splitlines()

    return run
