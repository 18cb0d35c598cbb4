"""The files of a bundle's variants: write, open, and remove them."""

import json
import os
from pathlib import Path

import onnx

from batch.model.batching import Shapes
from batch.model.bundle_files import EXTERNAL_SUFFIX
from batch.model.inference import InferenceSession
from exporter.verification_set import VerificationSet
from trainer.run_folder import RunConfig

FILES = {
    "fp32": "model.onnx",
    "int8": "model.int8.onnx",
    "fp16": "model.fp16.onnx",
    "bf16": "model.bf16.onnx",
}
# Above this size a model's tensors go into a file beside it, which onnxruntime maps instead
# of copying it twice. A protobuf file cannot exceed 2 GB in any case.
EXTERNAL_ABOVE = 64_000_000  # bytes


def model_properties(config: RunConfig, precision: str) -> dict[str, str]:
    """The metadata of a model file: labels, lengths, pooling, pad id, tokenizer, precision."""
    values = {
        "labels": json.dumps(config.labels, ensure_ascii=False),
        "positive_label": config.positive_label or "",
        "max_length": config.max_length,
        "fixed_length": json.dumps(config.model_config.is_fixed_length),
        "pooling": config.model["pooling"],
        "pad_id": config.model["pad_id"],
        "tokenizer_sha256": config.tokenizer_sha256,
        "precision": precision,
    }
    return {f"spam-batch.{key}": str(value) for key, value in values.items()}


def describe_model(proto: onnx.ModelProto, config: RunConfig, precision: str) -> None:
    """Write :func:`model_properties` into ``proto``, so that the file is complete on its own."""
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, model_properties(config, precision))


def save_model(proto: onnx.ModelProto, path: Path) -> None:
    """Write ``path``, with a large model's tensors in ``path`` + ``.data``; onnx checks both."""
    size = sum(len(tensor.raw_data) for tensor in proto.graph.initializer)
    if size > EXTERNAL_ABOVE:
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)  # onnx.save_model moves the tensors out of its argument
        onnx.save_model(
            copy, path, save_as_external_data=True, all_tensors_to_one_file=True,
            location=path.name + EXTERNAL_SUFFIX, size_threshold=1024,
        )  # fmt: skip
        # onnx makes it private; it gets the graph's permissions.
        os.chmod(path.with_name(path.name + EXTERNAL_SUFFIX), path.stat().st_mode & 0o777)
    else:
        onnx.save_model(proto, path)
    onnx.checker.check_model(str(path))


def open_variant(
    folder: Path, precision: str, device: str, rows: VerificationSet | None = None
) -> InferenceSession:
    """Load one variant from a bundle's folder; on a GPU it runs in spam-batch's shapes."""
    path = folder / FILES[precision]
    is_apart = path.with_name(path.name + EXTERNAL_SUFFIX).exists()
    shapes = Shapes.of(rows) if rows else None
    return InferenceSession(
        path.read_bytes(), device, tensors_in=folder if is_apart else None, shapes=shapes
    )


def remove_variant(folder: Path, precision: str) -> None:
    """Delete the files of one variant."""
    for name in (FILES[precision], FILES[precision] + EXTERNAL_SUFFIX):
        (folder / name).unlink(missing_ok=True)
