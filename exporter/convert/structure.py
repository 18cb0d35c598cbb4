"""The structure of an ONNX file, compared with the run that it was exported from."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from batch.errors import BundleError
from exporter.convert.graph import INPUT, OUTPUT
from exporter.convert.variants import model_properties
from trainer.run_folder import RunConfig


@dataclass(frozen=True)
class Structure:
    """Names, shapes and types of one graph, and where they differ from the run's."""

    inputs: list[str]  # such as "input_ids (B, T) int64"
    outputs: list[str]
    opset: dict[str, int]  # version by domain; "" is ONNX itself
    nodes: int
    operators: dict[str, int]  # nodes of each kind
    megabytes: float
    problems: list[str]


def read_structure(path: Path, config: RunConfig, precision: str) -> Structure:
    """Read a file and compare its names, types, shape and metadata with the run's.

    Raises:
        BundleError: the file is not ONNX.
    """
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except (OSError, DecodeError):
        raise BundleError(f"{path}: cannot be read as ONNX") from None
    graph = proto.graph
    fixed = config.model_config.is_fixed_length
    expected = {
        "inputs": [f"{INPUT} (B, {config.max_length if fixed else 'T'}) int64"],
        "outputs": [f"{OUTPUT} (B, {len(config.labels)}) float"],
    }
    found = {
        "inputs": [_describe(value, "BT") for value in graph.input],
        "outputs": [_describe(value, "BK") for value in graph.output],
    }
    problems = [
        f"its {key} are {', '.join(found[key])} instead of {', '.join(expected[key])}"
        for key in expected
        if found[key] != expected[key]
    ]
    written = {entry.key: entry.value for entry in proto.metadata_props}
    for key, value in model_properties(config, precision).items():
        if written.get(key) != value:
            problems.append(f"its {key} is {written.get(key)!r}, the run's is {value!r}")
    operators = Counter(node.op_type for node in graph.node)
    return Structure(
        **found,
        opset={entry.domain: entry.version for entry in proto.opset_import},
        nodes=len(graph.node),
        operators=dict(operators.most_common()),
        megabytes=round(sum(f.stat().st_size for f in path.parent.glob(path.name + "*")) / 1e6, 1),
        problems=problems,
    )


def _describe(value: onnx.ValueInfoProto, axes: str) -> str:
    tensor = value.type.tensor_type
    sizes = [
        str(dim.dim_value) if dim.HasField("dim_value") else axes[place : place + 1]
        for place, dim in enumerate(tensor.shape.dim)
    ]
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    return f"{value.name} ({', '.join(sizes)}) {kind}"
