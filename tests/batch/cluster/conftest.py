"""A folder to label on many machines: the command, and workers in this process."""

import os

import pytest
from click.testing import CliRunner

from batch.cli.commands import main
from batch.cluster import engine as ray_engine
from batch.cluster.worker import Setup, Worker


@pytest.fixture
def workers(monkeypatch, bundle, classifier) -> list[int]:
    """Gets the number of each part that a worker was given; there is no Ray."""
    given: list[int] = []

    def label(parts, todo, opened, request):
        setup = Setup(str(bundle), opened.digest, lambda: classifier, ("fp32", "cpu"))
        for number in todo:
            given.append(number)
            yield Worker(setup, parts).label(number)

    monkeypatch.setattr(ray_engine, "import_ray", lambda: None)
    monkeypatch.setattr(ray_engine, "_label", label)
    return given


@pytest.fixture
def run(bundle, tmp_path, monkeypatch):
    """Runs ``spam-batch classify in --engine ray``; returns the status and the lines said."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("in")
    os.mkdir("out")

    def run(*args):
        args = ["classify", "in", "--engine", "ray", "--out", "out", *map(str, args)]
        result = CliRunner().invoke(main, [*args, "--bundle", str(bundle)])
        assert result.stdout == ""
        here = f"{tmp_path}/"
        return result.exit_code, [line.replace(here, "") for line in result.stderr.splitlines()]

    return run
