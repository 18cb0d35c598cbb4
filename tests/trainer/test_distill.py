"""A student from labelled files to run folder, bundle and labels."""

import gzip
import json
from pathlib import Path

import pandas as pd
import torch

from batch.cli.commands import main as spam_batch
from batch.model.classifier import Classifier
from batch.reading.fingerprint import hash_file
from exporter.cli import main as spam_export
from trainer.cli import main as spam_train
from trainer.run_folder import read_config


def error_of(result, status: int = 65) -> str:
    assert result.exit_code == status, result.output
    last = result.stderr.strip().splitlines()[-1]
    return last.removeprefix("spam-train: error: ")


def test_from_labelled_files_to_a_bundle(
    make_teacher_bundle, write_texts, label, distill, invoke, tmp_path: Path
) -> None:
    """Two formats, compressed too; the exporter takes the run, and the student labels alike."""
    bundle = make_teacher_bundle(threshold=0.6, unsure_band=[0.55, 0.65])
    first = label(write_texts("one.csv"), bundle)
    packed = tmp_path / "two.csv.gz"
    rest = write_texts("two.csv", count=80, first=200)
    rest.write_bytes(rest.read_bytes() + b"999,at home for ham ham\n1000,at home for ham ham\n")
    packed.write_bytes(gzip.compress(rest.read_bytes()))
    result = distill(first, label(packed, bundle))
    assert result.exit_code == 0, result.output
    assert "disagrees with the teacher on" in result.stdout
    assert "the SVM, trained on the teacher's labels, disagrees on" in result.stdout
    assert "threshold 0.6, the teacher's" in result.stdout
    run = tmp_path / "student"
    config, metrics = read_config(run), json.loads((run / "metrics.json").read_bytes())
    assert set(map(hash_file, (first, packed))) & set(config.data["files"])
    assert len(config.data["files"]) == 4  # two outputs and their inputs
    assert config.teacher is not None
    assert config.teacher["name"] == "teacher"
    assert config.teacher["options"]["--threshold"] == "0.6"
    assert config.unsure_band == [0.55, 0.65]
    assert config.weights["statement"].endswith(
        f"Its labels are those of the bundle teacher (digest {config.teacher['digest'][:12]})."
    )
    assert config.data["records"] == 242
    assert config.data["dropped"] == {"repeated texts": 1}
    assert sum(metrics["messages"].values()) == 241
    assert metrics["threshold"]["value"] == 0.6
    assert metrics["agreement"]["messages"] == metrics["messages"]["test"]
    assert metrics["agreement"]["disagreement"]["share"] < 0.1
    test = pd.read_csv(run / "test.csv")
    assert list(test.columns) == ["label", "text", "probability_ham", "probability_spam"]
    assert ((test["probability_spam"] >= 0.6) == (test["label"] == "spam")).all()
    assert "<h2>Agreement with the teacher</h2>" in (run / "report.html").read_text("utf-8")

    exported = invoke(spam_export, "bundle", "--run", run, "--out", tmp_path / "bundle")
    assert exported.exit_code == 0, exported.output
    refused = invoke(spam_train, "fit", "--config", run / "config.json", "--out", tmp_path / "x")
    assert error_of(refused) == (
        f"{run / 'config.json'}: is of a student; fit cannot repeat its run; type spam-train "
        "distill with the same files"
    )


def test_three_classes_a_teacher_for_plain_files_and_gold_labels(
    make_teacher_bundle, write_texts, distill, tmp_path: Path
) -> None:
    """Plain files are labelled first, once; a gold file adds texts, and is compared with."""
    names = ("bill", "net", "other")
    bundle = make_teacher_bundle(labels=names)
    plain = write_texts("plain.csv", names, 180)
    gold = tmp_path / "gold.csv"
    rows = pd.read_csv(plain)["text"][:60].to_list() + [f"mend the net {i}" for i in "abcdefgh"]
    truth = [names[number % 3] for number in range(60)] + ["net"] * 8
    truth[0] = "other"  # the teacher says bill
    pd.DataFrame({"label": truth, "text": rows}).to_csv(gold, index=False)
    first = distill(plain, "--teacher", bundle, "--data", gold, "--loss", "soft")
    assert first.exit_code == 0, first.output
    assert "180 records in, 180 rows out" in first.stderr
    labelled = tmp_path / "student.labelled" / "plain.csv"
    assert labelled.read_text("utf-8").startswith(
        "id,text,probability_bill,probability_net,probability_other"
    )
    config = read_config(tmp_path / "student")
    assert (config.labels, config.positive_label) == (list(names), None)
    assert config.data["rows"] == 188
    agreement = json.loads((tmp_path / "student" / "metrics.json").read_bytes())["agreement"]
    assert [part["label"] for part in agreement["by_class"]] == list(names)
    assert agreement["gold"]["student"]["messages"] >= agreement["gold"]["teacher"]["messages"] > 0
    assert "against the gold labels: the student errs on" in first.stdout

    again = distill(plain, "--teacher", bundle, "--data", gold, "--loss", "soft", out="student")
    assert again.exit_code == 0, again.output
    assert f"{plain}: was labelled already" in again.stderr
    assert "180 records in" not in again.stderr


def test_a_killed_run_resumes_to_the_same_weights(
    make_teacher_bundle, write_texts, label, distill, tmp_path: Path, monkeypatch
) -> None:
    labelled = label(write_texts("texts.csv"), make_teacher_bundle())
    assert distill(labelled, out="whole").exit_code == 0
    original, steps = torch.optim.AdamW.step, 0

    def kill(self, *args, **options):
        nonlocal steps
        steps += 1
        if steps == 20:  # in the second of two epochs
            raise KeyboardInterrupt
        return original(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", kill)
        killed = distill(labelled)
    assert killed.exit_code == 130
    assert "The checkpoint of the last whole epoch is kept; the same command resumes" in (
        killed.stderr
    )
    resumed = distill(labelled)
    assert resumed.exit_code == 0, resumed.output
    assert "Resuming after epoch 1 of 2." in resumed.stderr
    ours, theirs = (tmp_path / name / "model.safetensors" for name in ("student", "whole"))
    assert hash_file(ours) == hash_file(theirs)


def test_an_interrupted_labelling_resumes(
    make_teacher_bundle, write_texts, distill, monkeypatch
) -> None:
    bundle, plain = make_teacher_bundle(), write_texts("plain.csv")
    monkeypatch.setattr("batch.run.windows.WINDOW", 64)
    monkeypatch.setattr("batch.run.classify.COMMIT_SECONDS", 0.0)
    load = Classifier.load

    def load_to_be_interrupted(*arguments, **options):
        made = load(*arguments, **options)
        classify = made.classify

        def classify_once(texts):
            made.windows += 1
            if made.windows > 1:
                raise KeyboardInterrupt
            return classify(texts)

        made.classify = classify_once
        return made

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "load", load_to_be_interrupted)
        assert distill(plain, "--teacher", bundle).exit_code == 130
    resumed = distill(plain, "--teacher", bundle)
    assert resumed.exit_code == 0, resumed.output
    assert f"resuming at line 66 of {plain}, after 64 records" in resumed.stderr


class TestRefused:
    def test_without_a_run_manifest(
        self, make_teacher_bundle, write_texts, distill, tmp_path: Path
    ) -> None:
        plain = write_texts("plain.csv")
        assert error_of(distill(plain), 66) == (
            f"{plain}: has no run manifest, plain.csv.run.json, so nobody knows which bundle "
            "labelled it; if it has no labels yet, type --teacher and the bundle's folder"
        )
        assert distill(plain, "--teacher", make_teacher_bundle()).exit_code == 0

    def test_missing(self, distill, tmp_path: Path) -> None:
        path = tmp_path / "nothing.csv"
        assert error_of(distill(path), 66) == f"cannot read {path}: No such file or directory"

    def test_changed_since(self, make_teacher_bundle, write_texts, label, distill, invoke) -> None:
        bundle = make_teacher_bundle()
        labelled = label(write_texts("texts.csv"), bundle)
        text = labelled.read_text("utf-8")
        labelled.write_text(text.replace(",spam,", ",ham,", 1), "utf-8")
        assert error_of(distill(labelled)) == (
            f"{labelled}: was changed after it was labelled; label it again, or see what differs: "
            f"spam-batch audit {labelled}"
        )
        audited = invoke(spam_batch, "audit", labelled, "--bundle", bundle)
        assert "failed    output" in audited.stdout

    def test_two_bundles_and_another_teacher(
        self, make_teacher_bundle, write_texts, label, distill
    ) -> None:
        one, other = make_teacher_bundle("one"), make_teacher_bundle("other")
        a, b = label(write_texts("a.csv"), one), label(write_texts("b.csv", first=200), other)
        manifests = [json.loads(Path(f"{path}.run.json").read_bytes()) for path in (a, b)]
        digests = [manifest["bundle"]["digest"][:12] for manifest in manifests]
        assert error_of(distill(a, b)) == (
            f"{b}: was labelled by the bundle {digests[1]}, and {a} by {digests[0]}; a student "
            "learns from one teacher; leave the file out, or label it again with the same bundle"
        )
        assert error_of(distill(a, "--teacher", other)) == (
            f"{a}: was labelled by the bundle {digests[0]}, and --teacher is {digests[1]}; a "
            "student learns from one teacher; leave the file out, or label it again with the "
            "same bundle"
        )

    def test_two_thresholds(self, make_teacher_bundle, write_texts, label, distill) -> None:
        bundle = make_teacher_bundle()
        a = label(write_texts("a.csv"), bundle)
        b = label(write_texts("b.csv", first=200), bundle, "--threshold", 0.9)
        assert error_of(distill(a, b)) == (
            f"{b}: was labelled with --threshold 0.9, and {a} with --threshold 0.5; leave one out, "
            "or label both in the same way"
        )

    def test_three_classes_without_probabilities(
        self, make_teacher_bundle, write_texts, label, distill
    ) -> None:
        names = ("bill", "net", "other")
        bundle, texts = make_teacher_bundle(labels=names), write_texts("texts.csv", names)
        labelled = label(texts, bundle, columns="label,score")
        assert error_of(distill(labelled)) == (
            f"{labelled}: was labelled with --columns label,score, and a student learns from the "
            "probability of each class, or from the score of two; label it again with --columns "
            "label,probability"
        )
        assert distill(label(texts, bundle)).exit_code == 0

    def test_a_positive_label_that_the_manifest_does_not_say(
        self, make_teacher_bundle, write_texts, label, distill
    ) -> None:
        names = ("good", "bad")
        bundle = make_teacher_bundle(labels=names, positive_label="good", threshold=0.99)
        labelled = label(write_texts("texts.csv", names), bundle)
        assert error_of(distill(labelled)) == (
            f"{labelled}: line 2: the probabilities give the label 'good', and the file has "
            "'bad'; name the teacher's positive label with --positive-label, or label the file "
            "again"
        )
        # With that label all texts are below the threshold, so the student has one class.
        assert error_of(distill(labelled, "--positive-label", "good")) == (
            "0 texts labelled 'good' by the teacher, fewer than the 10 that a student needs of "
            "each class; give texts that have more of it"
        )

    def test_too_few_of_a_class(
        self, make_teacher_bundle, write_texts, label, distill, tmp_path: Path
    ) -> None:
        names = ("bill", "net", "other")
        bundle = make_teacher_bundle(labels=names)
        most = write_texts("texts.csv", names[:2])
        with open(most, "a", encoding="utf-8") as file:
            file.writelines(f"{word},other {word}\n" for word in "abcdefg")
        labelled = label(most, bundle)
        assert error_of(distill(labelled)) == (
            "7 texts labelled 'other' by the teacher, fewer than the 10 that a student needs of "
            "each class; give texts that have more of it, or type --min-class 7"
        )
        # Of several classes the rarest is named, or the advice would be refused for the next one.
        assert error_of(distill(labelled, "--min-class", 1000)) == (
            "7 texts labelled 'other' by the teacher, fewer than the 1000 that a student needs of "
            "each class; give texts that have more of it, or type --min-class 7"
        )
        assert distill(labelled, "--min-class", 7).exit_code == 0

    def test_gold_labels_that_the_teacher_does_not_know(
        self, make_teacher_bundle, write_texts, label, distill, tmp_path: Path
    ) -> None:
        labelled = label(write_texts("texts.csv"), make_teacher_bundle())
        gold = tmp_path / "gold.csv"
        rows = ["ham,at home", "spam,a prize", "junk,a stock", "junk,a coin"]
        gold.write_text("\n".join(["label,text", *rows]), "utf-8")
        assert error_of(distill(labelled, "--data", gold)) == (
            "--data: 2 messages labelled 'junk', which the teacher does not know; it knows 'ham', "
            "'spam'; to leave others out, type --labels ham,spam"
        )
        assert distill(labelled, "--data", gold, "--labels", "ham,spam").exit_code == 0
