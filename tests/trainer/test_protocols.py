"""Scores over protocols and seeds."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from batch.errors import UsageError
from trainer.cli import main
from trainer.protocols import KEYS, PROTOCOLS, compare_accuracies, format_protocols, parse_protocols


def test_parse_protocols() -> None:
    assert parse_protocols("book, natural") == ("book", "natural")
    with pytest.raises(UsageError) as caught:
        parse_protocols("book,random")
    assert str(caught.value) == (
        "--protocols: there is no 'random'; choose from book, grouped, natural"
    )


def test_compare_accuracies() -> None:
    found = compare_accuracies([0.98, 0.97, 0.99], [0.97, 0.97, 0.97])
    assert found["difference"] == pytest.approx(0.01)
    assert (found["above"], found["equal"]) == (2, 1)
    # Differences 0.01, 0, 0.02: standard error 0.01 / sqrt(3); Student's 97.5 % at 2 is 4.3027.
    assert found["interval"] == pytest.approx([0.01 - 0.024841, 0.01 + 0.024841], abs=1e-6)


def test_one_run_has_no_interval() -> None:
    assert compare_accuracies([0.9], [0.8])["interval"] is None


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, bpe_file: Path):
    """60 ham and 40 spam messages, no two of them near copies, scored twice by each protocol."""
    folder = tmp_path_factory.mktemp("scores")
    data, out = folder / "data.csv", folder / "scores.json"
    words = [a + b for a in "bdfgklmnpr" for b in ("al", "en", "il", "or", "us")]
    ham = [f"dinner {words[n % 50]} {words[n * 7 % 50]} at {words[n // 50]}" for n in range(60)]
    spam = [f"prize {words[n]} call {words[n * 3 % 50]} now" for n in range(40)]
    lines = [f"ham,{text}" for text in ham] + [f"spam,{text}" for text in spam]
    data.write_text("\n".join(["label,text", *lines]) + "\n", encoding="utf-8")
    done = CliRunner().invoke(
        main,
        ["scores", "--seeds", "2", "--new-splits", "--weights", "random", "--epochs", "1",
         "--data", str(data), "--bpe", str(bpe_file), "--device", "cpu",
         "--json", str(out), "--quiet"],
    )  # fmt: skip
    return done.stdout, json.loads(out.read_text(encoding="utf-8"))


def test_every_protocol_and_seed_is_scored(result) -> None:
    _, values = result
    assert tuple(values) == KEYS
    found = [(run["protocol"], run["seed"], run["split_seed"]) for run in values["runs"]]
    assert found == [(name, n, n) for name in PROTOCOLS for n in (123, 124)]
    for run in values["runs"]:
        assert run["ours"]["messages"] == run["svm"]["messages"] > 0
        assert 0 <= run["ours"]["accuracy"] <= 1


def test_natural_keeps_the_mix(result) -> None:
    _, values = result
    messages = {run["protocol"]: run["ours"]["messages"] for run in values["runs"]}
    assert messages["natural"] > messages["grouped"]


def test_table(result) -> None:
    stdout, values = result
    assert format_protocols(values) == stdout.splitlines()
    assert "book, seed 124, split 124: SVM" in stdout
    assert "natural: mean of 2 " in stdout
    assert "weights: The starter" in stdout


def test_split_options_are_refused() -> None:
    done = CliRunner().invoke(main, ["scores", "--split", "book"])
    assert done.exit_code == 2
    assert "--protocols sets the split; leave --split and --balance out" in done.stderr
