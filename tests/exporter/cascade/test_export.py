"""spam-export cascade: what it proves, writes and refuses; spam-export verify proves it again."""

import json
import logging
import re
import shlex
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from batch.cli.commands import main as label_main
from batch.errors import BundleError, InputError, OutputError
from batch.model.bundle import open_bundle
from batch.model.cascade.proof import POWERS, PROOF, show_bound
from batch.model.classifier import Classifier
from batch.reading.fingerprint import hash_file
from exporter.cascade.bound import Band, upper_bound
from exporter.cascade.export import CascadeOptions, export_cascade
from exporter.cascade.measure import choose_band_and_power
from exporter.cascade.texts import ProofText
from exporter.cascade.verify import verify_cascade
from exporter.cli import main
from exporter.parity import VerificationError
from trainer.evaluation.calibration import fit_temperature_to


def make(fast: Path, slow: Path, out: Path, texts, promised: float = 0.05, **options):
    text = ProofText.of(texts, {"held-out.csv": "0" * 64})
    options = CascadeOptions(fast, slow, out, promised, "cpu", progress=False, **options)
    return export_cascade(options, lambda: text)


@pytest.fixture(scope="module")
def made(fast, slow, texts, tmp_path_factory):
    """(folder, proof) of a cascade of the stub models."""
    folder = tmp_path_factory.mktemp("made") / "cascade"
    return folder, make(fast, slow, folder, texts)


def test_the_proof_is_of_the_cascade_that_runs(made, texts, fast, slow) -> None:
    folder, proof = made
    text = ProofText.of(texts, {})
    loaded = Classifier.load(folder, "cpu", 1)
    found, theirs = (
        each.classify(text.proving) for each in (loaded, Classifier.load(slow, "cpu", 1))
    )
    differ = sum(a != b for a, b in zip(found.labels, theirs.labels, strict=True))
    assert proof.proving["differ"] == differ == 0
    assert proof.proving["asked"] == found.asked.sum() > 0
    assert proof.bound == upper_bound(0, len(text.proving)) <= 0.05
    alone = Classifier.load(fast, "cpu", 1).classify(text.proving)
    differ = sum(a != b for a, b in zip(alone.labels, theirs.labels, strict=True))
    assert proof.proving["differ_alone"] == differ > 0
    assert proof.curve[0] == [0.0, round(differ / len(text.proving), 8)]
    assert proof.stages == {"fast": open_bundle(fast).digest, "slow": open_bundle(slow).digest}
    # All rows, the repeated ones too: what a run with this text gives.
    rows = loaded.classify(texts)
    assert proof.share_asked == rows.asked.mean()
    assert proof.reference["labels"]["spam"] == round(rows.labels.count("spam") / len(texts), 6)
    assert sum(proof.reference["scores"]) == pytest.approx(1, abs=1e-4)
    assert json.loads((folder / PROOF).read_bytes()) == json.loads(json.dumps(proof.to_json()))
    # No text of a user travels with it.
    assert not any(b"dear" in path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("power", POWERS)
def test_a_run_asks_those_that_the_proof_asked(
    fast, slow, texts, tmp_path, monkeypatch, power
) -> None:
    """However the length counts."""
    chosen = partial(choose_band_and_power, powers=[power])
    monkeypatch.setattr("exporter.cascade.export.choose_band_and_power", chosen)
    varied = [text + " more" * (number % 9) for number, text in enumerate(texts)]
    proof = make(fast, slow, tmp_path / "x", varied)
    found = Classifier.load(tmp_path / "x", "cpu", 1).classify(ProofText.of(varied, {}).proving)
    assert proof.length_power == power
    assert proof.proving["asked"] == found.asked.sum() > 0
    again = verify_cascade(tmp_path / "x", ProofText.of(varied, {}), "cpu", progress=False)
    assert again[0] == f"asked again     {100 * found.asked.mean():.2f} % of the messages"


def test_the_cascade_labels_its_own_text_without_a_warning(made, invoke, inbox) -> None:
    out = inbox.with_name("labeled.csv")
    result = invoke(
        label_main, "classify", inbox, "--out", out, "--bundle", made[0], "--device", "cpu"
    )
    assert result.exit_code == 0 and "WARNING" not in result.stderr


def test_the_command_says_what_was_proved(fast, slow, inbox, tmp_path, invoke) -> None:
    out = tmp_path / "cascade"
    command = ("cascade", "--fast", fast, "--slow", slow, "--max-disagreement", "5%", "--out", out)
    result = invoke(main, *command, "--device", "cpu", "--text", inbox)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("text            420 rows, 400 distinct texts; ")
    assert lines[3].startswith("cascade         0 (0.000 %) differ; at most 1.")
    assert lines[3].endswith(" % with 95 % confidence, promised 5 %")
    assert lines[-1] == f"cascade: {out}"
    before = (out / PROOF).read_bytes()
    # Again, as the shell gives a pattern; the older cascade is replaced by the same bytes.
    more = shutil.copyfile(inbox, tmp_path / "more.csv")
    result = invoke(main, *command, "--device", "cpu", "--text", inbox, more)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("text            840 rows, 400 distinct texts; ")
    ours, theirs = json.loads(before), json.loads((out / PROOF).read_bytes())
    assert [ours[key] for key in ("band", "proving")] == [
        theirs[key] for key in ("band", "proving")
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cascade",
        "held-out.csv",
        "more.csv",
    ]


def test_verify_proves_it_on_any_text(made, inbox, invoke, texts) -> None:
    folder, proof = made
    result = invoke(main, "verify", folder, "--text", inbox, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    messages, bound = proof.proving["messages"], 100 * proof.bound
    share = 100 * proof.proving["asked"] / messages
    figures = f"0 of {messages} messages differ from the slow model's label (0.000 %)"
    assert result.stdout.splitlines() == [
        f"asked again     {share:.2f} % of the messages",
        f"cascade         {figures}, so at most {bound:.3f} % with 95 % confidence; "
        "promised are 5 %",
        f"{folder}: the bound holds on this text",
    ]


def test_the_command_that_a_drift_warning_names(made, tmp_path, invoke) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    texts = [f"to {a}{b} and {c}{a}" for a in letters for b in letters for c in letters[:6]]
    asked = Classifier.load(made[0], "cpu", 1).classify(texts).asked
    unsure = [text for text, flag in zip(texts, asked, strict=True) if flag]
    (tmp_path / "in.csv").write_text("\n".join(["text", *unsure]) + "\n")
    command = ("classify", tmp_path / "in.csv", "--out", tmp_path / "new labels.csv", "--bundle")
    log = invoke(label_main, *command, made[0], "--device", "cpu").stderr
    advised = re.search(r"to prove it on this text, type: spam-export (.*?); if that fails", log)[1]
    result = invoke(main, *shlex.split(advised))
    assert result.exit_code == 0, result.stderr
    assert "asked again     100.00 % of the messages" in result.stdout


def test_verify_says_where_it_does_not_hold(made, texts, slow, fast) -> None:
    folder, proof = made
    text = ProofText.of(texts, {})
    # The messages that the fast model gets wrong, as if the band were not there.
    narrow = made[0].parent / "narrow"
    if not narrow.exists():
        shutil.copytree(folder, narrow)
    values = json.loads((narrow / PROOF).read_bytes()) | {"band": [0.0, 0.0]}
    (narrow / PROOF).write_text(json.dumps(values))
    manifest = json.loads((narrow / "bundle.json").read_bytes())
    path = narrow / PROOF
    manifest["files"][PROOF] = {"sha256": hash_file(path), "size": path.stat().st_size}
    (narrow / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(VerificationError) as caught:
        verify_cascade(narrow, text, "cpu", progress=False)
    differ, messages = proof.proving["differ_alone"], len(text.proving)
    assert str(caught.value) == (
        f"{narrow}: the bound does not hold on this text: with 0.00 % of the messages asked of the "
        f"slow model, {differ} of {messages} messages differ from the slow model's label "
        f"({100 * differ / messages:.3f} %), so at most "
        f"{show_bound(upper_bound(differ, messages))} with 95 % confidence; promised are 5 %; "
        "distil again with this text, and prove the new cascade with spam-export cascade "
        "(docs/cascade.md)"
    )


def test_verify_needs_text_for_a_cascade_and_for_no_other(made, slow, inbox, invoke) -> None:
    folder = made[0]
    result = invoke(main, "verify", folder)
    assert (result.exit_code, result.stderr) == (
        2,
        f"spam-export: error: {folder} is a cascade; give the text to prove it on, for example: "
        f"spam-export verify {folder} --text inbox.csv\n",
    )
    result = invoke(main, "verify", slow, "--text", inbox)
    assert (result.exit_code, result.stderr) == (
        2,
        f"spam-export: error: --text: {slow} is no cascade; it is checked against its --run\n",
    )


def test_a_bound_that_is_not_proved(fast, slow, texts, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("exporter.cascade.measure.choose_band", lambda *_: Band(0.0, 0.0, 0, 0))
    with pytest.raises(VerificationError) as caught:
        make(fast, slow, tmp_path / "x", texts)
    said = str(caught.value)
    assert said.startswith(
        "the bound is not proved: with 0.00 % of the messages asked of the slow model, "
    )
    assert said.endswith(
        "promised are 5 %; no cascade was written; give more --text, allow a larger "
        "--max-disagreement, or train the fast model on more labels of the slow one"
    )
    assert caught.value.exit_code == 78 and list(tmp_path.iterdir()) == []


def test_too_few_messages(fast, slow, texts, tmp_path) -> None:
    text = ProofText.of(texts, {})
    with pytest.raises(InputError) as caught:
        make(fast, slow, tmp_path / "x", texts, promised=0.001)
    assert str(caught.value) == (
        f"held-out.csv: {len(text.proving)} messages in the half that proves are too few for "
        "0.1 %: 2,995 are needed even if no label differs, so about 5,990 distinct messages in "
        "all, and there are 400 (messages that are equal but for case, digits and punctuation "
        "count once); give more --text, or a larger --max-disagreement"
    )


@pytest.mark.parametrize("text", ["held-out.csv", "nope.csv"])
def test_bundles_are_looked_at_before_the_text(slow, inbox, tmp_path, invoke, text) -> None:
    """Even where the text would be too few messages, or is missing."""
    none, broken = tmp_path / "none", Path(shutil.copytree(slow, tmp_path / "broken"))
    (broken / "bundle.json").write_text("{")
    for fast, slower, said in (
        (none, slow,
         f"{none}: no such bundle; copy one there, or make one with: "
         f"spam-train fit && spam-export bundle --out {none}"),
        (slow, broken, f"{broken / 'bundle.json'}: not JSON"),
    ):  # fmt: skip
        command = ("cascade", "--fast", fast, "--slow", slower, "--max-disagreement", "0.1%")
        result = invoke(main, *command, "--text", inbox.with_name(text))
        assert (result.exit_code, result.stderr) == (78, f"spam-export: error: {said}\n")


def test_models_that_do_not_go_together(slow, texts, tmp_path, make_bundle, made) -> None:
    other = make_bundle(labels=["spam", "ham"])
    with pytest.raises(InputError) as caught:
        make(other, slow, tmp_path / "x", texts)
    assert str(caught.value) == (
        f"{other} has labels ['spam', 'ham'], and {slow} has ['ham', 'spam']; a cascade's two "
        "models have the same, in the same order: train the fast one on labels of the slow one"
    )
    with pytest.raises(BundleError) as caught:
        make(made[0], slow, tmp_path / "x", texts)
    assert str(caught.value) == f"{made[0]} is a cascade; give two ordinary bundles"


def test_text_that_a_model_has_learned(slow, texts, tmp_path, make_bundle) -> None:
    data = {"sha256": "1" * 64, "files": ["2" * 64, "0" * 64]}  # a run of several files
    learned = make_bundle(shift=0.5, training={"data": data})
    with pytest.raises(InputError) as caught:
        make(learned, slow, tmp_path / "x", texts)
    assert str(caught.value) == (
        f"held-out.csv is the data of {learned}; the bound holds only for text that neither model "
        "has seen: give other text, such as the run's test.csv"
    )


def test_what_is_not_a_bundle_stays(fast, slow, texts, tmp_path, made) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "x.txt").write_text("x")
    with pytest.raises(OutputError, match="exists and is not a bundle; it was left as it is"):
        make(fast, slow, tmp_path / "thesis", texts)
    mine = Path(shutil.copytree(made[0], tmp_path / "mine"))
    (mine / "slow" / "notes.txt").write_text("x")
    with pytest.raises(OutputError) as caught:
        make(fast, slow, mine, texts)
    assert str(caught.value) == (
        f"{mine / 'slow' / 'notes.txt'} is not a file of the bundle that --out would replace; it "
        "was left as it is; move it, or give another --out"
    )


def test_what_a_killed_export_left_is_removed(fast, slow, texts, tmp_path, made, caplog) -> None:
    left = Path(shutil.copytree(made[0], tmp_path / ".x.a1b2_c3d.part"))
    with caplog.at_level(logging.INFO, "exporter"):
        make(fast, slow, tmp_path / "x", texts)
    assert f"removed {left}, which a killed export had left" in caplog.messages
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x"]


def test_much_asked_is_a_warning(slow, texts, tmp_path, make_bundle, caplog) -> None:
    wrong = make_bundle(weights=(1.0, -1.0))
    with caplog.at_level(logging.WARNING, "exporter"):
        proof = make(wrong, slow, tmp_path / "x", texts)
    assert proof.share_asked > 0.9 and proof.proving["differ"] == 0
    assert caplog.messages[0].endswith(
        " % of the messages are asked of the slow model, so the cascade is not much faster; train "
        "the fast model on more labels of the slow one"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--max-disagreement", "0"),
         "--max-disagreement: 0 cannot be proved; type for example 0.1%"),
        (("--max-disagreement", "x"),
         "--max-disagreement: 'x' is not a share from 0 to 1; write 0.2 % as 0.2% or as 0.002"),
        (("--max-disagreement", "5"),
         "--max-disagreement: '5' is not a share from 0 to 1; write 5 % as 5% or as 0.05"),
        (("--max-disagreement", "1%", "--precision", "int8"),
         "--precision: 'int8' is not FAST+SLOW, such as fp32+int8"),
    ],
)  # fmt: skip
def test_wrong_options(fast, slow, inbox, invoke, arguments, said) -> None:
    result = invoke(main, "cascade", "--fast", fast, "--slow", slow, "--text", inbox, *arguments)
    assert result.exit_code == 2 and said in result.stderr


def test_a_bad_record_is_refused_or_left_out(fast, slow, inbox, tmp_path, invoke) -> None:
    inbox.write_bytes(inbox.read_bytes() + b'"open\n')
    command = ("cascade", "--fast", fast, "--slow", slow, "--text", inbox, "--max-disagreement",
               "5%", "--out", tmp_path / "x", "--device", "cpu")  # fmt: skip
    result = invoke(main, *command)
    assert result.exit_code == 65 and "is never closed" in result.stderr
    result = invoke(main, *command, "--max-rejects", "1")
    assert result.exit_code == 0, result.stderr


def test_the_temperature_brings_the_scores_together() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 4, (500, 3)).astype(np.float32)
    softer = np.exp(logits / 2.5 - (logits / 2.5).max(axis=1, keepdims=True))
    probabilities = softer / softer.sum(axis=1, keepdims=True)
    assert fit_temperature_to(logits, probabilities) == pytest.approx(2.5, rel=1e-3)


def test_the_same_score_means_the_same_in_both(slow, texts, tmp_path, make_bundle) -> None:
    sharp = make_bundle(weights=(-3.0, 3.0))
    proof = make(sharp, slow, tmp_path / "x", texts)
    assert proof.temperature == pytest.approx(3.0, rel=1e-3)
    found = Classifier.load(tmp_path / "x", "cpu", 1).classify(texts)
    theirs = Classifier.load(slow, "cpu", 1).classify(texts)
    np.testing.assert_allclose(found.scores, theirs.scores, atol=1e-3)
