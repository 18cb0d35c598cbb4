"""Made-up texts in the training set of a student."""

from pathlib import Path

import pandas as pd
import pytest

from batch.model.bundle import open_bundle
from batch.model.classifier import Classifier
from batch.reading.fingerprint import hash_file
from batch.run.summary import Summary
from trainer import recipe
from trainer.cli import main as spam_train
from trainer.data.sets import SPLITS
from trainer.run_folder import read_config
from trainer.run_steps import RunOptions
from trainer.teacher_run import label_texts


def test_made_up_texts_are_labelled_by_the_teacher_and_only_learned(
    make_teacher_bundle, write_texts, distill, tmp_path: Path, monkeypatch
) -> None:
    """Half as many as the training texts; the held-out sets are those without them."""
    monkeypatch.setattr(recipe, "MIN_TOKEN_SHARE", 0.05)
    lines = Summary.lines
    monkeypatch.setattr(Summary, "lines", lambda run: [*lines(run), "WARNING: drift: of a test"])
    bundle, plain = make_teacher_bundle(), write_texts("texts.csv")
    assert distill(plain, "--teacher", bundle, out="without").exit_code == 0
    result = distill(plain, "--teacher", bundle, "--augment", 0.5)
    assert result.exit_code == 0, result.output
    parts = {
        out: {part: pd.read_csv(tmp_path / out / f"{part}.csv") for part in SPLITS}
        for out in ("without", "student")
    }
    for held_out in ("validation", "test"):
        pd.testing.assert_frame_equal(parts["without"][held_out], parts["student"][held_out])
    before, after = parts["without"]["train"], parts["student"]["train"]
    pd.testing.assert_frame_equal(before, after[: len(before)])
    count = len(after) - len(before)
    assert 0 < count <= round(len(before) / 2)
    assert f"{count:,} made-up ones" in result.stdout
    assert [line.split(": ")[0] for line in result.stderr.splitlines() if "drift" in line] == [
        str(plain)  # and not of the made-up texts, which are meant to be others
    ]
    labels = Classifier.load(bundle).classify(list(after["text"])).labels
    assert list(after["label"]) == labels
    config = read_config(tmp_path / "student")
    assert config.data["made_up"] == count
    # A token must be in one text of twenty here, and made-up texts are texts.
    assert config.recipe["min_token_count"] == round(0.05 * len(after)) > 2
    made = tmp_path / "student.made-up"
    (source,) = made.glob("*.csv")
    labelled = made / "labelled" / source.name
    assert {hash_file(source), hash_file(labelled)} <= set(config.data["files"])

    # Another number makes another file; a file that is not ours in its place is refused.
    source.write_text("mine")
    again = distill(plain, "--teacher", bundle, "--augment", 0.5, out="student")
    assert (again.exit_code, source.read_text()) == (73, "mine")
    assert again.stderr.splitlines()[-1] == (
        f"spam-train: error: {source} is there, and was not made by this command; move it"
    )
    assert distill(plain, "--teacher", bundle, "--augment", 0.7, out="student").exit_code == 0
    assert len(list(made.glob("*.csv"))) == 2


@pytest.mark.parametrize("name", ["student.labelled", "student.made-up"])
def test_a_file_in_the_place_of_a_folder(
    name, make_teacher_bundle, write_texts, distill, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("mine")
    plain = write_texts("made-up")  # a name that such a folder had
    result = distill(plain, "--teacher", make_teacher_bundle(), "--augment", 1)
    assert result.exit_code == 73
    assert result.stderr == (
        f"spam-train: error: {tmp_path / name} is no folder, and what the teacher labels would "
        "stand in it; move it, or give another --out\n"
    )
    assert (tmp_path / name).read_text() == "mine"
    assert not (tmp_path / "student.labelled").is_dir()


def test_the_current_folder_as_out(
    make_teacher_bundle, write_texts, invoke, bpe_file: Path, tmp_path: Path, monkeypatch
) -> None:
    """Its name is looked up: ``.`` has none, and the labelled files' folder is named after it."""
    bundle, plain, here = make_teacher_bundle(), write_texts("a.csv"), tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    fixed = ("--bpe", bpe_file, "--cache", tmp_path / "cache", "--augment", 0.5, "--epochs", 1)
    result = invoke(spam_train, "distill", plain, "--teacher", bundle, "--out", ".", *fixed)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "here.labelled" / "a.csv").exists()


def test_a_made_up_text_that_is_the_header(make_teacher_bundle, tmp_path: Path, caplog) -> None:
    """It is left out: it would be warned of as a header within the file."""
    caplog.set_level("INFO")
    run = RunOptions(out=tmp_path / "student")
    labelled = label_texts(["one", "text", "two"], open_bundle(str(make_teacher_bundle())), run)
    assert list(pd.read_csv(labelled)["text"]) == ["one", "two"]
    assert "repeats the header" not in caplog.text
    source = tmp_path / "student.made-up" / labelled.name
    assert source.stat().st_mode == labelled.stat().st_mode


def test_a_number_that_makes_no_text(make_teacher_bundle, write_texts, distill) -> None:
    result = distill(write_texts("a.csv"), "--teacher", make_teacher_bundle(), "--augment", 1e-9)
    assert result.exit_code == 2
    assert "error: --augment 1e-09 makes up no text for " in result.stderr


def test_made_up_texts_beside_gold_labels(
    make_teacher_bundle, write_texts, distill, tmp_path: Path
) -> None:
    """A text with a gold label alone makes none, and a made-up text has no gold label."""
    gold = tmp_path / "gold.csv"
    gold.write_text("label,text\n" + "".join(f"spam,only gold {i}x\n" for i in "abcdefghijkl"))
    plain = write_texts("texts.csv")
    result = distill(plain, "--teacher", make_teacher_bundle(), "--augment", 1, "--data", gold)
    assert result.exit_code == 0, result.output
    made_up = read_config(tmp_path / "student").data["made_up"]
    last = pd.read_csv(tmp_path / "student" / "train.csv", keep_default_na=False)[-made_up:]
    assert set(last["gold"]) == {""}
    assert not last["text"].str.contains("gold").any()


@pytest.mark.parametrize(
    ("rule", "value", "ours"), [("--long", "tail", "head"), ("--threshold", "0.4", "0.5")]
)
def test_files_that_other_rules_labelled(
    make_teacher_bundle, write_texts, label, distill, rule: str, value: str, ours: str
) -> None:
    bundle = make_teacher_bundle()
    labelled = label(write_texts("texts.csv"), bundle, rule, value)
    result = distill(labelled, "--teacher", bundle, "--augment", 1)
    assert result.exit_code == 65
    assert result.stderr == (
        f"spam-train: error: {labelled}: was labelled with {rule} {value}, and --augment labels "
        f"with {rule} {ours}; leave --augment out, or label the file again without {rule}\n"
    )
