"""Made-up texts in the training set of a student."""

from pathlib import Path

import pandas as pd
import pytest

from batch.model.classifier import Classifier
from batch.reading.fingerprint import hash_file
from trainer import recipe
from trainer.data.sets import SPLITS
from trainer.run_folder import read_config


def test_made_up_texts_are_labelled_by_the_teacher_and_only_learned(
    make_teacher_bundle, write_texts, distill, tmp_path: Path, monkeypatch
) -> None:
    """Half as many as the training texts; the held-out sets are those without them."""
    monkeypatch.setattr(recipe, "MIN_TOKEN_SHARE", 0.05)
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
    labels = Classifier.load(bundle).classify(list(after["text"])).labels
    assert list(after["label"]) == labels
    config = read_config(tmp_path / "student")
    assert config.data["made_up"] == count
    # A token must be in one text of twenty here, and made-up texts are texts.
    assert config.recipe["min_token_count"] == round(0.05 * len(after)) > 2
    made = tmp_path / "student.labelled" / "made-up"
    assert {hash_file(made / "made-up.csv"), hash_file(made / "labelled" / "made-up.csv")} <= set(
        config.data["files"]
    )


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
