"""The files of a bundle's variants: written with what a lone file needs to explain itself."""

import json
import os
from pathlib import Path

import onnx

from batch.model.batching import Shapes
from batch.model.bundle_files import EXTERNAL_SUFFIX
from batch.model.inference import InferenceSession
from trainer.run_folder import RunConfig

FILES = {
    "fp32": "model.onnx",
    "int8": "model.int8.onnx",
    "fp16": "model.fp16.onnx",
    "bf16": "model.bf16.onnx",
}
# Above this a model's tensors go into a file beside it, which onnxruntime maps
# instead of copying it twice. A protobuf file must end at 2 GB anyway.
EXTERNAL_ABOVE = 64_000_000  # bytes


def model_properties(config: RunConfig, precision: str) -> dict[str, str]:
    """What a file's own metadata say: labels, lengths, pooling, pad id, tokenizer."""
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
    """Write :func:`model_properties` into the file, so that it explains itself when alone."""
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, model_properties(config, precision))


def save_model(proto: onnx.ModelProto, path: Path) -> None:
    """Write ``path``, a large model's tensors into ``path`` + ``.data``; checked by onnx."""
    size = sum(len(tensor.raw_data) for tensor in proto.graph.initializer)
    if size > EXTERNAL_ABOVE:
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)  # saving moves the tensors out of the graph that it is given
        onnx.save_model(
            copy, path, save_as_external_data=True, all_tensors_to_one_file=True,
            location=path.name + EXTERNAL_SUFFIX, size_threshold=1024,
        )  # fmt: skip
        # onnx makes it for its owner alone; who may read the graph may read the tensors.
        os.chmod(path.with_name(path.name + EXTERNAL_SUFFIX), path.stat().st_mode & 0o777)
    else:
        onnx.save_model(proto, path)
    onnx.checker.check_model(str(path))


def open_variant(folder: Path, precision: str, device: str, rows=None) -> InferenceSession:
    """Load one variant of a bundle's folder; on a GPU ``rows`` run in the runner's shapes."""
    path = folder / FILES[precision]
    is_apart = path.with_name(path.name + EXTERNAL_SUFFIX).exists()
    shapes = Shapes.of(rows) if rows else None
    return InferenceSession(
        path.read_bytes(), device, tensors_in=folder if is_apart else None, shapes=shapes
    )


def remove_variant(folder: Path, precision: str) -> None:
    """Delete one variant's file or files."""
    for name in (FILES[precision], FILES[precision] + EXTERNAL_SUFFIX):
        (folder / name).unlink(missing_ok=True)
