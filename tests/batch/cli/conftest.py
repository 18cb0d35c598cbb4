"""Tables through ``spam-batch classify``, with the stub bundle, in an empty folder."""

import pytest
from click.testing import CliRunner

from batch.cli.commands import main


@pytest.fixture(scope="session")
def table() -> bytes:
    """40 records and a header, with commas, quotes and letters that are not ASCII."""
    rows = [f'{i},"message, ""{i * 7919 % 100}"" £",é' for i in range(40)]
    return "\r\n".join(["id,text,x", *rows, ""]).encode()


@pytest.fixture
def run(bundle, tmp_path, monkeypatch, classifier):
    """Runs ``spam-batch classify`` in an empty folder, in windows of 16 rows.

    Returns the exit status, what was said, and the bytes of ``out``.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("batch.run.windows.WINDOW", 16)
    monkeypatch.setattr("batch.model.classifier.Classifier.load", lambda *_, **__: classifier)

    def run(name: str, data: bytes | None, *args, out="out.csv", **options):
        if data is not None and name != "-":
            (tmp_path / name).write_bytes(data)
        args = ["classify", name, "--out", out, "--bundle", str(bundle), *map(str, args)]
        result = CliRunner().invoke(main, [*args, "--quiet"], **options)
        path = tmp_path / out
        found = path.read_bytes() if path.is_file() else result.stdout_bytes or None
        return result.exit_code, result.stderr, found

    return run


@pytest.fixture(scope="session")
def labelled():
    """``labelled(run, name, data, ...)``: the output of a run that ends well."""

    def find(run, name, data, *args, warning="", **options) -> bytes:
        exit_code, said, found = run(name, data, *args, **options)
        assert (exit_code, said) == (0, f"WARNING: {warning}\n" if warning else "")
        return found

    return find


@pytest.fixture(scope="session")
def refused():
    """``refused(run, name, data, ...)``: the status and the error of a run without an output."""

    def find(run, name, data, *args, **options) -> tuple[int, str]:
        exit_code, said, found = run(name, data, *args, **options)
        assert found is None
        last = said.splitlines()[-1]  # before it, what is kept for a run that goes on
        return exit_code, last.removeprefix("spam-batch: error: ")

    return find


@pytest.fixture
def plain(run, labelled, table) -> bytes:
    """The table as it comes out."""
    return labelled(run, "plain.csv", table, out="plain.out.csv")
