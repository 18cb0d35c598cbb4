"""Labelled files and their manifests: what is read of them, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from batch.cli.commands import main as spam_batch
from batch.errors import InputError
from trainer.data.teacher import make_teacher, open_labelled, read_labelled_texts


@pytest.fixture
def label(invoke, tmp_path: Path, make_teacher_bundle) -> Callable[..., Path]:
    """Labels a file that is in the folder; returns the labelled file."""

    def run(name: str, text: str, *options: object, **changes) -> Path:
        (tmp_path / name).write_text(text, "utf-8")
        out = tmp_path / f"labelled-{name}"
        bundle = make_teacher_bundle(**changes)
        columns = ("--columns", "label,probability", "--quiet", *options)
        result = invoke(
            spam_batch, "classify", tmp_path / name, "--out", out, "--bundle", bundle, *columns
        )
        assert result.exit_code == 0, result.output
        return out

    return run


def read(path: Path, positive: str | None = "spam"):
    files = open_labelled([path])
    return read_labelled_texts(files, make_teacher(files[0], positive))


def change_manifest(path: Path, **changes: dict) -> Path:
    manifest = Path(f"{path}.run.json")
    values = json.loads(manifest.read_bytes())
    for key, change in changes.items():
        values[key].update(change)
    manifest.write_text(json.dumps(values), "utf-8")
    return manifest


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("a.csv", 'id,text\n1,"spam, spam"\n2,ham\n3,ham\n', ()),
        ("a.txt", '1|spam, spam\n2|ham\n3|ham\n', ("--no-header", "--delimiter", "|",
            "--text-column", "2", "--no-quote")),
        ("a.jsonl", '{"text": "spam, spam"}\n{"text": "ham"}\n{"text": "ham"}\n', ()),
    ],
)  # fmt: skip
def test_texts_of_each_format(label, name: str, text: str, options: tuple) -> None:
    frame, records = read(label(name, text, *options))
    assert records == 3
    assert frame.columns.tolist() == ["label", "text", "probability_ham", "probability_spam"]
    assert frame["text"].tolist() == ["spam, spam", "ham"]
    assert frame["label"].tolist() == ["spam", "ham"]
    assert frame["probability_spam"].tolist() == [pytest.approx(0.880797), pytest.approx(0.119203)]


@pytest.mark.parametrize("band", [None, [0.4, 0.6]])
def test_the_score_of_two_classes_is_enough(label, band: list[float] | None) -> None:
    text = "text\nspam\nham\nnone\n"
    path = label("a.csv", text, "--columns", "label,score", unsure_band=band)
    frame, _ = read(path)
    assert frame["label"].tolist() == ["spam", "ham", "spam"]
    assert frame["probability_spam"].tolist() == pytest.approx([0.880797, 0.119203, 0.5])
    assert frame["probability_ham"].tolist() == pytest.approx([0.119203, 0.880797, 0.5])


def test_texts_in_the_unsure_band_have_the_class_of_the_threshold(label) -> None:
    text = "text\nspam spam\nspam\nnone\n"
    path = label("a.csv", text, threshold=0.9, unsure_band=[0.4, 0.95])
    assert ",unsure," in path.read_text("utf-8")
    frame, _ = read(path)
    assert frame["label"].tolist() == ["spam", "ham", "ham"]


def test_a_tie_that_was_rounded_keeps_the_label_of_the_file(label) -> None:
    """0.8807970779 is written 0.880797, which is below this threshold."""
    path = label("a.csv", "text\nspam\nham\n", threshold=0.8807970778)
    frame, _ = read(path)
    assert frame["label"].tolist() == ["spam", "ham"]


def test_a_manifest_that_does_not_fit(label) -> None:
    path = label("a.csv", "text\nspam\nham\n")
    columns = ["probability_ham", "probability_spam", "label"]
    manifest = change_manifest(path, table={"columns": columns})
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{manifest}: does not fit its file; label it again, or see what differs: "
        f"spam-batch audit {path}"
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"--threshold": "high"}, "is damaged, or is not a run manifest"),
        ({"--unsure-band": "0.9"}, "is damaged, or is not a run manifest"),
        ({"--threshold": "1.5"}, "threshold 1.5 is not a probability; give one from 0 to 1"),
    ],
)
def test_damaged_rules(label, change: dict, problem: str) -> None:
    path = label("a.csv", "text\nspam\nham\n")
    manifest = change_manifest(path, options=change)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value) == f"{manifest}: {problem}"
