"""What the peers do with the same weights, in an environment of their own.

Run by benchmarks/export.py and benchmarks/throughput.py with the peers' Python; it imports
nothing of ours. Reads one JSON request a line from standard input and answers each with one
line: ``export`` makes optimum-onnx's fp32 and dynamic int8 files, ``label`` labels texts,
``logits`` gives logits of token ids in batches, ``versions`` names what is installed.
"""

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch
from optimum.onnxruntime import AutoQuantizationConfig, ORTModelForSequenceClassification
from optimum.onnxruntime import ORTQuantizer as Quantizer
from transformers import AutoModelForSequenceClassification, GPT2TokenizerFast, pipeline

PACKAGES = ("torch", "transformers", "optimum", "optimum-onnx", "onnxruntime")


class Peers:
    """``folder`` has the weights as transformers' GPT2ForSequenceClassification reads them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.tokenizer = GPT2TokenizerFast(
            vocab_file=str(folder / "vocab.json"), merges_file=str(folder / "merges.txt"),
            pad_token="<|endoftext|>", padding_side="right",
        )  # fmt: skip
        self.models: dict[str, object] = {}

    def export(self) -> dict:
        """Export to ONNX and quantize as optimum-onnx's guide has it; seconds and bytes."""
        start = time.perf_counter()
        model = ORTModelForSequenceClassification.from_pretrained(self.folder, export=True)
        model.save_pretrained(self.folder / "onnx")
        seconds = time.perf_counter() - start
        quantizer = Quantizer.from_pretrained(self.folder / "onnx")
        settings = AutoQuantizationConfig.avx2(is_static=False, per_channel=True)
        quantizer.quantize(save_dir=self.folder / "onnx-int8", quantization_config=settings)
        sizes = {
            name: sum(path.stat().st_size for path in (self.folder / name).glob("*.onnx*"))
            for name in ("onnx", "onnx-int8")
        }
        return {"seconds": seconds, "bytes": sizes}

    def model(self, name: str):
        if name not in self.models:
            if name == "transformers":
                found = AutoModelForSequenceClassification.from_pretrained(self.folder).eval()
            else:
                file = {"onnx": "model.onnx", "onnx-int8": "model_quantized.onnx"}[name]
                found = ORTModelForSequenceClassification.from_pretrained(
                    self.folder / name, file_name=file
                )
            self.models[name] = found
        return self.models[name]

    @torch.no_grad()
    def logits(self, name: str, batches: list[list[list[int]]]) -> dict:
        """Logits of padded token ids, batch by batch, and the seconds it took."""
        model, result = self.model(name), []
        start = time.perf_counter()
        for ids in batches:
            ids = torch.tensor(ids)
            # Pads stand right of what is read; the mask keeps the peers' own habits.
            mask = (ids != 50256).long()
            mask[:, 0] = 1
            result.append(np.asarray(model(input_ids=ids, attention_mask=mask).logits))
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "logits": np.concatenate(result).tolist()}

    def label(self, name: str, texts: list[str], batch_size: int, max_length: int) -> dict:
        """The text-classification pipeline as its users call it."""
        run = pipeline(
            "text-classification", model=self.model(name), tokenizer=self.tokenizer,
            device="cpu",
        )  # fmt: skip
        start = time.perf_counter()
        found = run(
            texts, batch_size=batch_size, truncation=True, max_length=max_length,
            padding=batch_size > 1,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "labels": [entry["label"] for entry in found]}

    def versions(self) -> dict:
        return {name: version(name) for name in PACKAGES}


def main() -> None:
    peers = Peers(Path(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the peers print must not stand between the answers
    for line in sys.stdin:
        request = json.loads(line)
        result = getattr(peers, request.pop("do"))(**request)
        print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    main()
