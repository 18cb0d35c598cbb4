"""spam-export as a user meets it, and gpt2-small's shape through the whole pipeline."""

import csv
import re
import shutil
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
import torch

from batch.model.bundle import open_bundle
from batch.model.classifier import Classifier
from exporter import parity
from exporter.cli import main, parse_precisions
from exporter.parity import VerificationError
from exporter.verification_set import NASTY_TEXTS
from trainer.model.gpt2 import GPT2Classifier, init_weights, model_config
from trainer.run_folder import read_config, read_model, read_tokenizer

ROWS = 7 + len(NASTY_TEXTS)
ROW = r"(validation|test|nasty) message \d+"
FREE = (
    "1 row, own width; 2 rows, own width; 7 rows, own width; 64 rows, own width; "
    "64 rows, {width} tokens wide; batches of 128 tokens; "
    "batches of 256 tokens; batches of 512 tokens; batches of 1024 tokens; "
    "batches of 4096 tokens"
)
MACHINE = [r"machine: .+", r"(this CPU has no VNNI: .+)?"]


def lines_of(precision: str, graph: str = "", width: int = 16, messages: int = 3) -> list[str]:
    """Patterns of what is printed of one variant that passed; ``graph`` of verify only."""
    tolerance = {"fp32": r"0\.0001", "int8": r"\d\.\d+"}[precision]
    lines = [rf"{precision} on cpu, \d+ rows"]
    if graph:
        lines += [
            rf"  graph           {re.escape(graph)}; \d\.\d MB",
            r"  operators       opset ai\.onnx 23; \d+ nodes: (\d+ \w+(, )?)+",
        ]
    lines += [
        rf"  logits          largest difference \d\.\d\de-\d\d \({ROW}\), \d+ rows?, [\w ]+; "
        rf"99 % of the rows below \d\.\d\de-\d\d; tolerance {tolerance}",
        rf"  probabilities   largest difference \d\.\d\de-\d\d \({ROW}\)",
        r"  labels          0 of \d+ differ",
        r"  batch variance  0: every row's logits are the same bits in every batch; tolerance 0",
        "  runs            " + re.escape(FREE.format(width=width)),
        r"  speed           [\d,]+ rows a second in batches of \d+ tokens",
    ]
    if precision == "int8":
        percent = r"\d+\.\d\d %"
        lines.append(
            rf"  accuracy gate   {messages} validation messages, PyTorch in brackets: accuracy "
            rf"{percent} \({percent}\); recall ham {percent} \({percent}\), spam {percent} "
            rf"\({percent}\); same label 100\.00 %"
        )
    return [*lines, "  passed"]


def assert_lines(stdout: str, patterns: list[str]) -> None:
    lines = stdout.splitlines()
    if not re.fullmatch(patterns[-2], lines[-2]):  # VNNI's absence is said of int8 only
        patterns = [pattern for pattern in patterns if pattern != MACHINE[1]]
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)


GRAPH = "input_ids (B, T) int64 -> logits (B, 2) float"


@pytest.mark.parametrize("exported", ["last_token"], indirect=True)
class TestBundle:
    def test_precisions_that_were_asked_for(
        self, invoke, exported, traced, monkeypatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("exporter.export.trace", lambda *_: traced()[1])
        out = tmp_path / "models" / "spam"
        result = invoke(
            main, "bundle", "--run", exported[0], "--out", out, "--device", "cpu", "--quiet",
            "--precision", "int8, fp32",
        )  # fmt: skip
        assert (result.exit_code, result.stderr) == (0, "")
        assert_lines(
            result.stdout,
            [*lines_of("fp32"), *lines_of("int8"), *MACHINE, re.escape(f"bundle: {out}")],
        )
        assert Classifier.load(out, "cpu", threads=1).classify(["hi"]).tokens.tolist() == [1]

    def test_int8_is_left_out_with_a_warning(
        self, invoke, exported, traced, monkeypatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("exporter.export.trace", lambda *_: traced()[1])
        monkeypatch.setitem(parity.TOLERANCES, ("int8", "cpu"), 0.0)
        run, out = exported[0], tmp_path / "spam"
        options = ("--run", run, "--out", out, "--device", "cpu", "--quiet")
        result = invoke(main, "bundle", *options)
        assert result.exit_code == 0
        differs = rf"the logits of {ROW} differ by 0\.\d+, more than 0 \(.*\): .*"
        int8 = [line.replace(r"tolerance \d\.\d+", "tolerance 0") for line in lines_of("int8")[:-1]]
        shown = [*lines_of("fp32"), *int8, "  FAILED", f"    {differs}"]
        assert_lines(result.stdout, [*shown, MACHINE[0], re.escape(f"bundle: {out}")])
        said = rf"WARNING: no int8 in this bundle: {differs}\n"
        assert re.fullmatch(said, result.stderr)
        assert list(open_bundle(out).manifest.variants) == ["fp32"]

        result = invoke(main, "bundle", *options, "--precision", "fp32,int8")
        assert result.exit_code == 78
        assert_lines(result.stdout, shown)
        said = rf"spam-export: error: int8: {differs}; no bundle was written\n"
        assert re.fullmatch(said, result.stderr)

    def test_output_that_is_no_bundle(self, invoke, exported, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
        result = invoke(main, "bundle", "--run", exported[0], "--out", tmp_path)
        assert (result.exit_code, result.stdout) == (73, "")
        assert result.stderr == (
            f"spam-export: error: {tmp_path} exists and is not a bundle; it was left as it is; "
            "give another --out\n"
        )
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


class TestPrecisions:
    def test_fp32_comes_first(self) -> None:
        assert parse_precisions("int8, fp32") == ("fp32", "int8")
        assert parse_precisions("bf16,fp16,fp32,fp32") == ("fp32", "fp16", "bf16")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("fp32,int4", "there is no 'int4'; choose from fp32, int8, fp16, bf16"),
            ("", "there is no ''; choose from fp32, int8, fp16, bf16"),
            ("int8", "fp32 is missing; every bundle needs it, because it runs everywhere"),
        ],
    )
    def test_refusals(self, text: str, message: str) -> None:
        with pytest.raises(click.UsageError) as error:
            parse_precisions(text)
        assert error.value.format_message() == f"--precision: {message}"

    def test_is_wrong_usage(self, invoke, tmp_path: Path) -> None:
        result = invoke(main, "bundle", "--run", tmp_path, "--precision", "int4")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.endswith(
            "Error: --precision: there is no 'int4'; choose from fp32, int8, fp16, bf16\n"
        )


@pytest.mark.parametrize("exported", ["last_token"], indirect=True)
class TestVerify:
    def test_passes(self, invoke, copied) -> None:
        run, bundle = copied
        result = invoke(main, "verify", bundle, "--run", run, "--device", "cpu", "--quiet")
        assert (result.exit_code, result.stderr) == (0, "")
        assert_lines(
            result.stdout,
            [*lines_of("fp32", GRAPH), *lines_of("int8", GRAPH), *MACHINE,
             re.escape(f"{bundle}: verified")],
        )  # fmt: skip

    def test_a_changed_weight(self, invoke, copied, write_hashes_anew) -> None:
        run, bundle = copied
        proto = onnx.load(bundle / "model.int8.onnx")
        for tensor in proto.graph.initializer:
            if tensor.name == "score.bias":
                tensor.raw_data = np.array([0, 9], np.float32).tobytes()
        onnx.save(proto, bundle / "model.int8.onnx")
        write_hashes_anew(bundle)
        result = invoke(main, "verify", bundle, "--run", run, "--device", "cpu", "--quiet")
        assert result.exit_code == 78
        problem = (
            rf"the logits of {ROW} differ by \d\.\d+, more than 0\.\d+ \(1 row, own width\): "
            r"ONNX Runtime gives \[.+\], PyTorch \[.+\]"
        )
        said = rf"spam-export: error: int8 removed from {re.escape(str(bundle))}: {problem}\n"
        assert re.fullmatch(said, result.stderr)
        lines = result.stdout.splitlines()
        assert re.fullmatch(f"    {problem}", lines[lines.index("  FAILED") + 1])
        assert list(open_bundle(bundle).manifest.variants) == ["fp32"]
        assert not (bundle / "model.int8.onnx").exists()

        result = invoke(main, "verify", bundle, "--run", run, "--device", "cpu", "--quiet")
        assert (result.exit_code, result.stderr) == (0, "")

    def test_nothing_is_left(self, invoke, copied, write_hashes_anew) -> None:
        run, bundle = copied
        write_hashes_anew(bundle, pooling="mean")
        result = invoke(main, "verify", bundle, "--run", run, "--device", "cpu", "--quiet")
        assert result.exit_code == 78
        assert result.stderr == (
            f"spam-export: error: fp32, int8 removed from {bundle}: bundle.json says pooling "
            "'mean', the run 'last_token'\n"
        )
        result = invoke(main, "verify", bundle, "--run", run)
        assert (result.exit_code, result.stdout) == (78, "")
        assert result.stderr == (
            f"spam-export: error: {bundle}: no variant of this bundle passed its verification; "
            "export it again with: spam-export bundle\n"
        )


@pytest.mark.parametrize("command", ["bundle", "verify"])
def test_no_run_folder(invoke, exported, tmp_path: Path, command: str) -> None:
    args = ["--out", tmp_path / "bundle"] if command == "bundle" else [exported[1]]
    result = invoke(main, command, *args, "--run", tmp_path)
    assert (result.exit_code, result.stdout) == (66, "")
    assert result.stderr == (
        f"spam-export: error: {tmp_path} is not a run folder (it has no config.json); "
        "make one with: spam-train fit\n"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ('{"accuracy": {"train"', "Expecting ':' delimiter: line 1 column 22 (char 21)"),
        ("[]", "it holds a list, expected an object"),
        ("{}", "accuracy is not valid"),
        ('{"accuracy": 1}', "accuracy is not valid"),
    ],
)
@pytest.mark.parametrize("command", ["bundle", "verify"])
def test_torn_metrics(invoke, exported, tmp_path: Path, command, text, reason) -> None:
    run = shutil.copytree(exported[0], tmp_path / "run")
    (run / "metrics.json").write_text(text, encoding="utf-8")
    args = ["--out", tmp_path / "bundle"] if command == "bundle" else [exported[1]]
    result = invoke(main, command, *args, "--run", run, "--quiet")
    message = f"{run}/metrics.json: not the metrics.json of a run: {reason}"
    assert result.stderr == f"spam-export: error: {message}\n"
    assert (result.exit_code, result.stdout) == (65, "")


def test_an_export_that_fails_leaves_no_folder(invoke, exported, tmp_path: Path, monkeypatch):
    def fail(*_):
        raise VerificationError("fp32: no")

    monkeypatch.setattr("exporter.export._write_variants", fail)
    out = tmp_path / "models" / "spam"
    result = invoke(main, "bundle", "--run", exported[0], "--out", out, "--quiet")
    assert (result.exit_code, result.stderr) == (78, "spam-export: error: fp32: no\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["bundle", "verify"])
def test_help_has_an_example(invoke, command: str) -> None:
    result = invoke(main, command, "--help")
    assert result.exit_code == 0
    assert f"Example:\n    spam-export {command} " in result.stdout


@pytest.mark.slow
def test_gpt2_small_is_exported_checked_and_classifies(
    run_cli, write_run_folder, part_classes, tmp_path: Path
) -> None:
    """Random weights of the published shape, as processes: no accuracy is asked."""
    model = GPT2Classifier(model_config("gpt2-small"))
    init_weights(model, 12, torch.Generator().manual_seed(0))
    part_classes(model, max_length=12)
    run, bundle = write_run_folder(tmp_path / "run", model, max_length=12), tmp_path / "bundle"
    done = run_cli("exporter", "bundle", "--run", run, "--out", bundle, "--device", "cpu",
                   "--precision", "fp32,int8", text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_lines(
        done.stdout,
        [*lines_of("fp32", width=12), *lines_of("int8", width=12), *MACHINE,
         re.escape(f"bundle: {bundle}")],
    )  # fmt: skip
    assert "Weights: Random." in done.stderr
    assert "Warning" not in done.stderr

    texts = ["Call now", "<|endoftext|>" * 9, "", "a\nb"]
    with open(tmp_path / "inbox.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])
    done = run_cli(
        "batch", "classify", tmp_path / "inbox.csv", "--out", tmp_path / "labeled.csv",
        "--bundle", bundle, "--precision", "fp32",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    config, tokenizer = read_config(run), read_tokenizer(run)
    with open(tmp_path / "labeled.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == texts
    model = read_model(run, config)
    for row in rows:
        ids = tokenizer.encode(row["text"], 12)
        padded = torch.tensor([ids + [50256] * (12 - len(ids))])
        with torch.no_grad():
            theirs = torch.softmax(model.forward_plain(padded), dim=-1)[0]
        assert float(row["score"]) == pytest.approx(theirs[1].item(), abs=1e-4)
        assert row["label"] == config.labels[theirs.argmax()]
