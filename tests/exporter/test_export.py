"""From run folder to bundle: what is recorded, and when there is none."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from batch.errors import BundleError, MissingInputError
from batch.model.batching import TRIED_BATCH_TOKENS
from batch.model.bundle import open_bundle
from batch.model.classifier import Classifier
from batch.reading.fingerprint import hash_file
from exporter.convert.graph import trace
from exporter.export import export
from exporter.parity import VerificationError
from exporter.verification_set import NASTY_TEXTS, torch_logits
from trainer.model.gpt2 import GPT2Classifier

NUMBERS = r"\[(?:-?(?:\d+\.\d+(?:e-\d+)?|nan)(?:, )?)+\]"
ROWS = 7 + len(NASTY_TEXTS)
SPARE = [f"{first} {second} {third}" for first in ("win", "call", "meet", "home", "free")
         for second in ("a prize", "at noon", "now", "", "tonight")
         for third in ("ok?", "!!", "12345", "dear")]  # fmt: skip


def edit_tensors(proto: onnx.ModelProto, **changes) -> onnx.ModelProto:
    """Change the head's tensors: ``bias=lambda bias: bias + 1``."""
    for tensor in proto.graph.initializer:
        change = changes.get(tensor.name.removeprefix("score."))
        if change is not None:
            values = change(numpy_helper.to_array(tensor)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return proto


def refusal(action, *args) -> str:
    with pytest.raises(VerificationError) as error:
        action(*args)
    assert error.value.exit_code == 78
    return str(error.value)


def test_report(exported) -> None:
    _, bundle, results = exported
    report = json.loads((bundle / "verify.json").read_bytes())
    assert report["rows"] == {"validation": 3, "test": 4, "nasty": len(NASTY_TEXTS)}
    assert list(report["variants"]) == ["fp32", "int8"]
    for result, (precision, entry) in zip(results, report["variants"].items(), strict=True):
        assert result.precision == precision
        assert (entry["passed"], entry["problems"], entry["device"]) == (True, [], "cpu")
        name = open_bundle(bundle).manifest.variants[precision]
        assert entry["sha256"] == hash_file(bundle / name)
        assert entry["external_sha256"] is None
        check = entry["check"]
        assert entry["rows_per_second"] == check["rows_per_second"] > 0
        assert entry["batch_tokens"] == check["batch_tokens"] in TRIED_BATCH_TOKENS["cpu"]
        assert (check["rows"], check["labels_differ"]) == (ROWS, [])
        assert check["batch_variance"]["value"] == 0
        assert check["logit"]["value"] == result.check.logit.value
        assert entry["kept_fp32"] == []
    fp32, int8 = report["variants"].values()
    assert (fp32["gate"], int8["gate"]["messages"]) == (None, 3)
    assert int8["gate"]["agreement"] == 1
    assert fp32["check"]["logit"]["value"] <= 1e-5 < int8["check"]["logit"]["value"]
    assert set(report["machine"]) == {"cpu", "flags", "vnni", "versions"}


@pytest.mark.parametrize("exported", ["last_token"], indirect=True)
class TestRefusals:
    @pytest.mark.parametrize(("by", "shown"), [(0.5, r"0\.5"), (0.001, r"0\.001"), (np.nan, "inf")])
    def test_changed_weight(
        self, exported, traced, export_graph, tmp_path: Path, by: float, shown: str
    ) -> None:
        old = tmp_path / "bundle"
        old.mkdir()
        manifest = '{"format": "spam-batch bundle", "files": {}}'
        (old / "bundle.json").write_text(manifest, encoding="utf-8")
        proto = edit_tensors(traced()[1], bias=lambda bias: bias + by)
        assert re.fullmatch(
            rf"fp32: the logits of (validation|test|nasty) message \d+ differ by {shown}, more "
            rf"than 0\.0001 \(.*\): ONNX Runtime gives {NUMBERS}, PyTorch {NUMBERS}; "
            r"no bundle was written",
            refusal(export_graph, proto, exported[0], old),
        )
        assert list(tmp_path.iterdir()) == [old]
        assert [path.name for path in old.iterdir()] == ["bundle.json"]
        assert (old / "bundle.json").read_text(encoding="utf-8") == manifest

    def test_label_that_differs(
        self, tiny_model, write_run_folder, traced, export_graph, exported, tmp_path: Path
    ) -> None:
        """A difference far below the tolerance, and yet another label."""
        model = tiny_model()
        with torch.no_grad():
            model.score.weight.zero_()
            model.score.bias.copy_(torch.tensor([0.0, 1e-5]))
        run = write_run_folder(tmp_path / "run", model)
        proto = edit_tensors(
            traced()[1], weight=np.zeros_like, bias=lambda bias: np.array([1e-5, 0.0])
        )
        assert refusal(export_graph, proto, run, tmp_path / "bundle") == (
            f"fp32: {ROWS} labels differ, the first that of validation message 1; "
            "no bundle was written"
        )
        assert list(tmp_path.iterdir()) == [run]

    def test_bf16_on_a_cpu(self, exported, traced, export_graph, tmp_path: Path) -> None:
        found = refusal(export_graph, traced()[1], exported[0], tmp_path / "bundle", "fp32", "bf16")
        assert re.fullmatch(
            r"bf16: onnxruntime cannot load the model: \[ONNXRuntimeError\] : 9 : NOT_IMPLEMENTED "
            r": Could not find an implementation for MatMul\(\d+\) node with name "
            r"'h\.0\.attn\.c_attn/half/MatMul_\d'; no bundle was written",
            found,
        )
        assert list(tmp_path.iterdir()) == []

    def test_no_such_device(self, exported, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [])
        with pytest.raises(BundleError, match=r"^device cuda: onnxruntime .* has no CUDA"):
            export(exported[0], tmp_path / "bundle", "cuda", progress=False)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("exported", ["last_token"], indirect=True)
def test_fp16_on_a_cpu(exported, traced, export_graph, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    results = export_graph(traced()[1], exported[0], bundle, "fp32", "fp16")
    assert [result.problems() for result in results] == [[], []]
    assert open_bundle(bundle).manifest.variants["fp16"] == "model.fp16.onnx"
    assert Classifier.load(bundle, "cpu", 1, precision="fp16").classify(["hi"]).labels


def special_tokens(tokenizer) -> list[int]:
    """The last tokens of those of SPARE that the models below call spam."""
    return sorted({tokenizer.encode(text)[-1] for text in SPARE if text.endswith(("ok?", "!!"))})


ALTERNATE = torch.tensor([1.0, -1.0] * 4 + [0.0] * 8)  # channels 0 to 7; the rest is the layer's


def ruin(norm: torch.nn.LayerNorm) -> None:
    """The norm's channel 3 is 1000 for every token, and the others at most sqrt(15), as any norm's.

    A row's one int8 step is then 1000 / 127, and all others are rounded to nought.
    """
    norm.weight.fill_(1)
    norm.bias.zero_()
    norm.weight[3], norm.bias[3] = 0, 1000


def write_to_8_and_9(layer: torch.nn.Linear, *inputs: int) -> None:
    """The layer gives the first input less the second, if there is one, and its opposite."""
    layer.weight.zero_()
    layer.bias.zero_()
    for number, sign in zip(inputs, (1, -1), strict=False):
        layer.weight[8, number], layer.weight[9, number] = sign, -sign


def read_8(model: GPT2Classifier, bias: float) -> None:
    """The head reads channel 8 alone, whose sum with 9 is nought; all else adds next to nothing."""
    model.transformer.wpe.weight.zero_()
    model.transformer.ln_f.weight.fill_(1)
    model.transformer.ln_f.bias.zero_()
    model.score.weight.zero_()
    model.score.weight[0, 8], model.score.weight[1, 8] = -1, 1
    model.score.bias.copy_(torch.tensor([-bias, bias]))


@torch.no_grad()
def with_ruined_mlp(model: GPT2Classifier, tokenizer) -> GPT2Classifier:
    """Logits of 2.3 and its opposite by the last token, which pass through h.0.mlp.c_fc alone."""
    trunk = model.transformer
    trunk.wte.weight.copy_(-ALTERNATE)
    trunk.wte.weight[special_tokens(tokenizer)] = ALTERNATE
    for layer in (trunk.h[0].attn.c_proj, trunk.h[1].attn.c_proj, trunk.h[1].mlp.c_proj):
        layer.weight *= 1e-6  # not nought: equal tensors would become one
        layer.bias *= 1e-6
    ruin(trunk.h[0].ln_2)
    mlp = trunk.h[0].mlp
    mlp.c_fc.weight.zero_()
    mlp.c_fc.bias.zero_()
    mlp.c_fc.weight[0], mlp.c_fc.weight[1] = ALTERNATE / 4, -ALTERNATE / 4
    mlp.c_fc.weight[:2, 3] = 0
    write_to_8_and_9(mlp.c_proj, 0, 1)
    read_8(model, bias=0)
    return model


@torch.no_grad()
def with_ruined_attention(model: GPT2Classifier, tokenizer) -> GPT2Classifier:
    """Of one block: spam if one of the tokens is special, which the values alone tell."""
    trunk = model.transformer
    even = ALTERNATE.abs().roll(4) * ALTERNATE  # channels 4 to 7
    trunk.wte.weight.copy_(ALTERNATE - even)  # 0 to 3
    trunk.wte.weight[special_tokens(tokenizer)] = even
    ruin(trunk.h[0].ln_1)
    attention = trunk.h[0].attn
    attention.c_attn.weight *= 1e-6  # every token is seen alike
    attention.c_attn.bias.zero_()
    attention.c_attn.weight[:, 3] = 0
    attention.c_attn.weight[32] = 100 * even  # the first value
    write_to_8_and_9(attention.c_proj, 0)
    trunk.h[0].mlp.c_proj.weight *= 1e-6
    trunk.h[0].mlp.c_proj.bias *= 1e-6
    read_8(model, bias=-1.0)
    return model


def check_labels(model: GPT2Classifier, tokenizer) -> list[str]:
    """PyTorch's labels of SPARE are as constructed, by far; returns them."""
    expected = ["spam" if text.endswith(("ok?", "!!")) else "ham" for text in SPARE]
    logits = torch_logits(model, tokenizer.encode_all(SPARE, 16), 16)
    leanings = logits[:, 1] - logits[:, 0]
    assert [("ham", "spam")[int(leaning > 0)] for leaning in leanings] == expected
    assert np.abs(leanings).min() > 1
    return expected


class TestOutliers:
    def test_a_ruined_layer_is_kept_in_fp32(
        self, tiny_model, tokenizer, write_run_folder, export_graph, tmp_path: Path, caplog
    ) -> None:
        model = with_ruined_mlp(tiny_model(), tokenizer)
        expected = check_labels(model, tokenizer)
        run = write_run_folder(tmp_path / "run", model, validation=SPARE)
        bundle = tmp_path / "bundle"
        with caplog.at_level("INFO", "exporter"):
            _, int8 = export_graph(trace(model, 16), run, bundle, "fp32", "int8")
        assert int8.kept_fp32 == ["h.0.mlp.c_fc"]
        assert int8.problems() == []
        assert [record.getMessage() for record in caplog.records][-2:] == [
            "The gate is not passed; measuring what each of 4 layers costs",
            "Keeping 1 layer in fp32: h.0.mlp.c_fc",
        ]
        entry = json.loads((bundle / "verify.json").read_bytes())["variants"]["int8"]
        assert (entry["passed"], entry["kept_fp32"]) == (True, ["h.0.mlp.c_fc"])
        assert entry["gate"]["messages"] == len(SPARE) == 100
        proto = onnx.load(bundle / "model.int8.onnx")
        assert "h.0.mlp.c_fc/MatMul" in " ".join(node.name for node in proto.graph.node)
        assert [node.op_type for node in proto.graph.node].count("MatMulInteger") == 3
        classifier = Classifier.load(bundle, "cpu", 1, precision="int8")
        assert classifier.classify(SPARE).labels == expected

    def test_nothing_helps(
        self, tiny_model, tokenizer, write_run_folder, export_graph, tmp_path: Path, caplog
    ) -> None:
        """The only layer is the ruined one: the keys and values of one block with many heads."""
        model = with_ruined_attention(tiny_model(layers=1, heads=8), tokenizer)
        check_labels(model, tokenizer)
        run = write_run_folder(tmp_path / "run", model, validation=SPARE)
        bundle, proto = tmp_path / "bundle", trace(model, 16)
        found = refusal(export_graph, proto, run, bundle, "fp32", "int8")
        assert list(tmp_path.iterdir()) == [run]

        with caplog.at_level("WARNING", "exporter"):
            results = export_graph(proto, run, bundle, optional=("int8",))
        assert [result.precision for result in results] == ["fp32"]
        problem = re.fullmatch(r"int8: (.*); no bundle was written", found).group(1)
        said = [r.getMessage() for r in caplog.records if r.name == "exporter"]
        assert said == [f"WARNING: no int8 in this bundle: {problem}"]
        assert sorted(path.name for path in bundle.iterdir()) == [
            "README.md", "bundle.json", "golden.json", "gpt2.tiktoken", "model.onnx", "verify.json",
        ]  # fmt: skip
        assert Classifier.load(bundle, "cpu", 1).precision == "fp32"


@pytest.mark.parametrize("precisions", [("fp32",), ("fp32", "int8")])
def test_no_int8_where_it_would_change_nothing(
    tiny_model, tokenizer, write_run_folder, export_graph, tmp_path: Path, caplog, precisions
) -> None:
    """A model of one block with few heads computes no layer at every token."""
    model = tiny_model(layers=1)
    run = write_run_folder(tmp_path / "run", model)
    bundle = tmp_path / "bundle"
    with caplog.at_level("INFO", "exporter"):
        found = export_graph(
            trace(model, 16), run, bundle, *precisions,
            optional=() if "int8" in precisions else ("int8",),
        )  # fmt: skip
    assert [result.precision for result in found] == ["fp32"]
    level, no = ("WARNING", "WARNING: no") if "int8" in precisions else ("INFO", "No")
    said = [(r.levelname, r.getMessage()) for r in caplog.records if "int8" in r.getMessage()]
    assert said == [
        (level, f"{no} int8 in this bundle: the model has no layer that it would change")
    ]
    assert list(open_bundle(bundle).manifest.variants) == ["fp32"]


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r" is not a run folder "):
        export(tmp_path / "run", tmp_path / "bundle", "cpu", progress=False)
