"""Our export beside optimum-onnx's, of the same weights, in one run.

Random weights of gpt2-small's shape (or --size), the real lengths of --data. Compares logits,
file sizes, export time, speed at equal batches, and how far a message's logits move with its
batch. Prints also what int8 reaches of a bare integer matrix product of the same shapes.

    python benchmarks/export.py --data SMSSpamCollection --peers .venv-peers/bin/python
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from peer_process import PeerProcess, make_model, write_peer_folder
from scratch import scratch_folder

from batch.model.batching import BATCH_TOKENS, cut_batches, pad_batch
from batch.model.inference import InferenceSession
from batch.model.tokenizer import Tokenizer
from exporter.convert.graph import trace
from exporter.convert.quantize import linear_layers, module_of, reduce_precision
from exporter.convert.variants import save_model
from exporter.machine import describe_machine
from trainer.data.reading import SMS_OPTIONS, read_labelled
from trainer.model.gpt2 import model_config

MAX_LENGTH = 120  # tokens, the notebook's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bpe", type=Path, default=Path("data/gpt2.tiktoken"))
    parser.add_argument("--peers", default=".venv-peers/bin/python")
    parser.add_argument("--size", default="gpt2-small")
    parser.add_argument("--messages", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    tokenizer = Tokenizer.load(args.bpe)
    texts = (
        read_labelled([args.data], SMS_OPTIONS).frame["text"].sample(args.messages, random_state=0)
    )
    sequences = [tokenizer.encode(text, MAX_LENGTH) or [50256] for text in texts]
    batches = [
        (rows, pad_batch([sequences[row] for row in rows], width, 50256))
        for rows, width in cut_batches([len(ids) for ids in sequences], BATCH_TOKENS["cpu"])
    ]
    model = make_model(model_config(args.size))
    machine = describe_machine()
    print(f"{machine['cpu']}, {' '.join(machine['flags'])}; {args.threads} threads")
    print(f"{args.size}, {len(texts)} messages, {sum(map(len, sequences)):,} tokens")
    with scratch_folder() as folder:
        write_peer_folder(model, ["ham", "spam"], folder / "peer")
        start = time.perf_counter()
        plain = trace(model, MAX_LENGTH)
        seconds = time.perf_counter() - start
        ours = {"fp32": plain, "int8": reduce_precision(plain, "int8")}
        for precision, proto in ours.items():
            save_model(proto, folder / f"{precision}.onnx")
        with PeerProcess(args.peers, folder / "peer", args.threads) as peer:
            print(", ".join(f"{key} {value}" for key, value in peer.versions().items()))
            theirs = peer.export()
            print(f"export: ours {seconds:.0f} s, optimum-onnx {theirs['seconds']:.0f} s")
            for precision, key in (("fp32", "onnx"), ("int8", "onnx-int8")):
                size = sum(path.stat().st_size for path in folder.glob(f"{precision}.onnx*"))
                print(
                    f"size, {precision}: ours {size / 1e6:.0f} MB, optimum-onnx "
                    f"{theirs['bytes'][key] / 1e6:.0f} MB"
                )
            compare(folder, peer, sequences, batches, plain, args)


def compare(folder: Path, peer, sequences, batches, plain, args) -> None:
    """Time every side on the same batches, taking turns, and compare logits."""
    sessions = {
        precision: InferenceSession((folder / f"{precision}.onnx").read_bytes(), "cpu",
                                    args.threads, tensors_in=folder)
        for precision in ("fp32", "int8")
    }  # fmt: skip
    wire = [ids.tolist() for _, ids in batches]
    runs: dict[str, Callable[[], tuple[float, np.ndarray]]] = {
        f"ours, {precision}": lambda session=session: run_ours(session, batches)
        for precision, session in sessions.items()
    }
    for name, key in (("optimum-onnx, fp32", "onnx"), ("optimum-onnx, int8", "onnx-int8")):
        runs[name] = lambda key=key: run_theirs(peer, key, wire)
    bare = {
        "bare products, fp32": BareProducts(plain, batches, args.threads, "fp32"),
        "bare products, int8": BareProducts(plain, batches, args.threads, "int8"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in (*runs, *bare)}
    logits: dict[str, np.ndarray] = {}
    for repeat in range(args.repeats + 1):
        for name, run in runs.items():
            taken, logits[name] = run()
            seconds[name] += [taken] * (repeat > 0)  # the first warms up
        for name, products in bare.items():
            taken = products.run()
            seconds[name] += [taken] * (repeat > 0)
    rows = np.concatenate([rows for rows, _ in batches])
    alone = [pad_alone(sequences[row]) for row in rows]
    singles = [(np.array([place]), ids) for place, ids in enumerate(alone)]
    reference = run_theirs(peer, "transformers", wire)[1]
    print(f"{'':22} messages/s (spread)      of fp32   from transformers   batch variance")
    base = statistics.median(seconds["ours, fp32"])
    for name in runs:
        median = statistics.median(seconds[name])
        rates = sorted(len(rows) / value for value in seconds[name])
        if name.startswith("ours"):
            one_by_one = run_ours(sessions[name.split()[-1]], singles)[1]
        else:
            key = "onnx" if "fp32" in name else "onnx-int8"
            one_by_one = run_theirs(peer, key, [ids.tolist() for ids in alone])[1]
        difference = np.abs(logits[name] - reference).max()
        variance = np.abs(logits[name] - one_by_one).max()
        print(
            f"{name:22} {len(rows) / median:7.1f} ({rates[0]:.1f} to {rates[-1]:.1f}) "
            f"{base / median:9.2f} {difference:15.2e} {variance:16.2e}"
        )
    for precision in ("fp32", "int8"):
        ceiling = statistics.median(seconds[f"bare products, {precision}"])
        share = ceiling / statistics.median(seconds[f"ours, {precision}"])
        print(
            f"bare {'MatMul' if precision == 'fp32' else 'MatMulInteger'} of the same shapes: "
            f"{len(rows) / ceiling:.1f} messages/s; ours in {precision} reaches {share:.2f} of it"
        )


def pad_alone(ids: list[int]) -> np.ndarray:
    ((_, width),) = cut_batches([len(ids)], BATCH_TOKENS["cpu"])
    return pad_batch([ids], width, 50256)


def run_ours(session: InferenceSession, batches) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    logits = [session.run(ids) for _, ids in batches]
    return time.perf_counter() - start, np.concatenate(logits)


def run_theirs(peer, name: str, batches: list) -> tuple[float, np.ndarray]:
    answer = peer.logits(name=name, batches=batches)
    return answer["seconds"], np.array(answer["logits"])


class BareProducts:
    """The block layers' matrix products alone, once for each batch, and nothing between them."""

    def __init__(self, plain: onnx.ModelProto, batches, threads: int, precision: str):
        weights = {tensor.name: tensor for tensor in plain.graph.initializer}
        layers = set(linear_layers(plain))
        shapes = [
            tuple(weights[node.input[1]].dims)
            for node in plain.graph.node
            if node.op_type == "MatMul" and module_of(node) in layers
        ]
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self._sessions = {
            shape: ort.InferenceSession(
                _product(shape, precision).SerializeToString(), options,
                providers=["CPUExecutionProvider"],
            )
            for shape in set(shapes)
        }  # fmt: skip
        kind = np.float32 if precision == "fp32" else np.uint8
        self._inputs = [
            {shape: np.ones((ids.size, shape[0]), dtype=kind) for shape in set(shapes)}
            for _, ids in batches
        ]
        self._shapes = shapes

    def run(self) -> float:
        """Seconds of all products, shape by shape: threads of one session at a time spin."""
        start = time.perf_counter()
        for shape in sorted(self._shapes):
            for inputs in self._inputs:
                self._sessions[shape].run(None, {"x": inputs[shape]})
        return time.perf_counter() - start


def _product(shape: tuple[int, int], precision: str) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    if precision == "fp32":
        weight = rng.normal(size=shape).astype(np.float32)
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
        kinds = TensorProto.FLOAT, TensorProto.FLOAT
    else:
        weight = rng.integers(-64, 65, size=shape).astype(np.int8)
        node = helper.make_node("MatMulInteger", ["x", "w", "zero"], ["y"])
        kinds = TensorProto.UINT8, TensorProto.INT32
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("x", kinds[0], ["M", shape[0]])],
        [helper.make_tensor_value_info("y", kinds[1], ["M", shape[1]])],
        [numpy_helper.from_array(weight, "w")]
        + ([numpy_helper.from_array(np.uint8(128), "zero")] if precision == "int8" else []),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


if __name__ == "__main__":
    main()
