"""Messages a second: ours, its ceiling, and the peers, taking turns in one run.

Random weights of gpt2-small's shape (or --size), the same for all sides, and the messages of
--data, or made-up ones of the SMS collection's length distribution. No message comes twice.

(a) the notebook's loop: PyTorch, one message at a time, padded to 120 tokens
(b) transformers' pipeline, (c) optimum-onnx's pipeline in fp32 and its dynamic int8, each at
    the best of the batch sizes tried; (d) onnxruntime, every message padded to 120, in batches
(e) ours: ``Classifier.classify`` in fp32 and int8; (f) the ceiling: the same matrix products
    alone; (g) with --cascade, what cascade/make.py made: the cascades whose slow model is a good
    one in gpt2-small's shape, and the fast model alone, on messages that neither was trained on.

Then the host path by itself, with a model that costs nothing.

    python benchmarks/throughput.py --data data/SMSSpamCollection.tsv --peers .venv-peers/bin/python
"""

import argparse
import csv
import datetime
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from export import BareProducts
from messages import read_texts
from peer_process import PeerProcess, make_model, write_peer_folder
from scratch import scratch_folder
from turns import Side, rate, slices, summary, table, take_turns

from batch.model.batching import BATCH_TOKENS, cut_batches, pad_batch
from batch.model.bundle import Manifest
from batch.model.cascade.proof import show_bound
from batch.model.classifier import Classifier
from batch.model.inference import InferenceSession
from batch.model.tokenizer import Tokenizer
from exporter.convert.graph import trace
from exporter.convert.quantize import reduce_precision
from exporter.convert.variants import save_model
from exporter.machine import describe_machine
from trainer.model.gpt2 import model_config

MAX_LENGTH = 120  # tokens, the notebook's
LABELS = ["ham", "spam"]
PAD = 50256
# What cascade/make.py made: the cascade, the text of its proof, and which messages these are.
CASCADES = (
    ("wide-cascade-short", "held-out-short.csv", "of at most 160 characters"),
    ("wide-cascade", "held-out.csv", "of any length"),
)
CASCADE_MESSAGES = 4_000  # of a slice
SLOW_MESSAGES = 8  # of a slice, for the sides that pad to 120


def notebook_loop(model, parts: list[list[list[int]]]) -> Side:
    """(a), on the first messages of each slice: each costs the same, for all are padded."""

    def run(number: int) -> tuple[float, list[str]]:
        start = time.perf_counter()
        labels = []
        with torch.no_grad():
            for ids in parts[number][:SLOW_MESSAGES]:
                padded = torch.from_numpy(pad_batch([ids], MAX_LENGTH, PAD))
                labels.append(LABELS[int(model.forward_plain(padded)[0].argmax())])
        return time.perf_counter() - start, labels

    return Side("(a) the notebook's loop", [SLOW_MESSAGES] * len(parts), run)


def padded_batches(session: InferenceSession, parts: list[list[list[int]]]) -> Side:
    """(d), in batches of 8 as the notebook trains."""

    def run(number: int) -> tuple[float, list[str]]:
        start = time.perf_counter()
        logits = session.run(pad_batch(parts[number][:SLOW_MESSAGES], MAX_LENGTH, PAD))
        return time.perf_counter() - start, [LABELS[row] for row in logits.argmax(axis=1)]

    return Side("(d) onnxruntime, padded to 120", [SLOW_MESSAGES] * len(parts), run)


def ours(name: str, classifier: Classifier, parts: list[list[str]]) -> Side:
    def run(number: int) -> tuple[float, list[str]]:
        classifier.clear_cache()
        start = time.perf_counter()
        labels = classifier.classify(parts[number]).labels
        return time.perf_counter() - start, labels

    return Side(name, list(map(len, parts)), run)


def best_pipeline(peer: PeerProcess, name: str, title: str, parts: list[list[str]]) -> Side:
    """The fastest batch size of a peer's pipeline, messages in order of length for its sake."""
    parts = [sorted(part, key=len) for part in parts]

    def run(number: int, batch_size: int) -> tuple[float, None]:
        answer = peer.label(
            name=name, texts=parts[number], batch_size=batch_size, max_length=MAX_LENGTH
        )
        return answer["seconds"], None

    sizes = {size: min(run(0, size)[0] for _ in range(2)) for size in (1, 8, 32)}
    best = min(sizes, key=sizes.__getitem__)
    return Side(f"{title}, batch size {best}", list(map(len, parts)), lambda n: run(n, best))


def bare_products(graph, parts: list[list[list[int]]], threads: int, precision: str) -> Side:
    """(f), with the batches that ours cuts."""
    products = []
    for sequences in parts:
        batches = [
            (rows, pad_batch([sequences[row] for row in rows], width, PAD))
            for rows, width in cut_batches([len(ids) for ids in sequences], BATCH_TOKENS["cpu"])
        ]
        products.append(BareProducts(graph, batches, threads, precision))
    name = f"(f) matrix products alone, {precision}"
    return Side(name, list(map(len, parts)), lambda number: (products[number].run(), None))


def cascade_sides(made: Path, count: int) -> tuple[list[Side], list[dict]]:
    """(g) each cascade and its fast model alone, in ``count`` slices, and what was proved of it."""
    sides, found = [], []
    for name, text, which in CASCADES:
        with open(made / text, encoding="utf-8", newline="") as file:
            texts = [row["text"] for row in csv.DictReader(file)]
        wanted = min(CASCADE_MESSAGES * count, len(texts))
        parts = slices(random.Random(0).sample(texts, wanted), count)
        classifier = Classifier.load(made / name, "cpu")
        proof = classifier.bundle.proof
        if proof is None:
            raise SystemExit(f"{made / name} is no cascade")
        side = ours(f"(g) ours, cascade, messages {which}", classifier, parts)
        sides += [side, ours(f"(g) its fast model alone, {which}", classifier.fast, parts)]
        asked = sum(int(classifier.classify(part).asked.sum()) for part in parts)
        proving = proof.proving
        found.append({
            "side": side.name, "messages": wanted, "asked": asked, "share_asked": asked / wanted,
            "proof": {"messages": proving["messages"], "differ": proving["differ"]},
            "bound": proof.bound, "confidence": proof.confidence, "promised": proof.promised,
            "slow": classifier.slow.bundle.manifest.model, "precisions": proof.precisions,
        })  # fmt: skip
    return sides, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--bpe", type=Path, default=Path("data/gpt2.tiktoken"))
    parser.add_argument("--peers", default=".venv-peers/bin/python")
    parser.add_argument("--size", default="gpt2-small")
    parser.add_argument("--messages", type=int, default=200)
    parser.add_argument("--slices", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5, help="turns of each slice")
    parser.add_argument("--cascade", type=Path, help="folder that cascade/make.py wrote")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--host-rows", type=int, default=1_000_000)
    parser.add_argument("--bundle", type=Path, default=Path("models/spam"), help="Host path's.")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    texts = read_texts(args.data, args.messages)
    with scratch_folder() as folder:
        result = run_all(args, texts, folder)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"throughput-{result['date']}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written: {path}")


def run_all(args: argparse.Namespace, texts: list[str], folder: Path) -> dict:
    machine = describe_machine()
    print(f"{machine['cpu']}, {' '.join(machine['flags'])}; {args.threads} threads", flush=True)
    tokenizer = Tokenizer.load(args.bpe)
    sequences = [tokenizer.encode(text, MAX_LENGTH) or [PAD] for text in texts]
    model = make_model(model_config(args.size))
    write_peer_folder(model, LABELS, folder / "peer")
    plain = trace(model, MAX_LENGTH)
    classifiers = {}
    for precision in ("fp32", "int8"):
        proto = plain if precision == "fp32" else reduce_precision(plain, "int8")
        save_model(proto, folder / f"{precision}.onnx")
        graph = (folder / f"{precision}.onnx").read_bytes()
        session = InferenceSession(graph, "cpu", args.threads, tensors_in=folder)
        classifiers[precision] = Classifier(fake_bundle(args.size), session, tokenizer, precision)
    parts, ids = slices(texts, args.slices), slices(sequences, args.slices)
    cascades: list[dict] = []
    with PeerProcess(args.peers, folder / "peer", args.threads) as peer:
        versions = peer.versions()
        peer.export()
        sides = [
            notebook_loop(model, ids),
            best_pipeline(peer, "transformers", "(b) transformers pipeline", parts),
            best_pipeline(peer, "onnx", "(c) optimum-onnx pipeline, fp32", parts),
            best_pipeline(peer, "onnx-int8", "(c) optimum-onnx pipeline, int8", parts),
            padded_batches(classifiers["fp32"].session, ids),
            *(ours(f"(e) ours, {name}", found, parts) for name, found in classifiers.items()),
            *(bare_products(plain, ids, args.threads, name) for name in classifiers),
        ]
        if args.cascade:
            more, cascades = cascade_sides(args.cascade, args.slices)
            sides += more
        take_turns(sides, args.repeats)
    by_name = {side.name: side for side in sides}
    check_labels(model, ids, by_name["(e) ours, fp32"])
    rows = [summary(side, sides[0]) for side in sides]
    print("\n".join(table(rows)))
    for found in cascades:
        found["times_int8"] = rate(by_name[found["side"]]) / rate(by_name["(e) ours, int8"])
        print(cascade_line(found), flush=True)
    if args.bundle.is_dir():
        host = run_host(args, folder)
    else:
        host = None
        print(f"the host path was not measured: {args.bundle} is missing; make train export")
    return {
        "date": datetime.date.today().isoformat(), "machine": machine, "threads": args.threads,
        "size": args.size, "messages": len(texts), "tokens": sum(map(len, sequences)),
        "slices": args.slices, "repeats": args.repeats, "peers": versions, "sides": rows,
        "cascades": cascades, "host": host,
    }  # fmt: skip


def run_host(args: argparse.Namespace, folder: Path) -> dict:
    """The host path, in a process without torch, as ``spam-batch`` is one."""
    out = folder / "host.json"
    command = [sys.executable, Path(__file__).with_name("host.py"), "--bundle", args.bundle]
    command += ["--rows", args.host_rows, "--out", out]
    command += ["--data", args.data] if args.data else []
    if made := args.cascade:
        command += ["--student", made / "student", "--student-text", made / "held-out.csv"]
    subprocess.run(list(map(str, command)), check=True)
    return json.loads(out.read_text(encoding="utf-8"))


def fake_bundle(size: str) -> SimpleNamespace:
    """What Classifier reads of a bundle: no files, and the largest logit decides."""
    manifest = Manifest(
        labels=LABELS, positive_label=None, threshold=0.5, temperature=1.0, max_length=MAX_LENGTH,
        fixed_length=False, pooling="last_token", pad_id=PAD, model=size, weights="random",
        variants={}, files={},
    )  # fmt: skip
    return SimpleNamespace(manifest=manifest, folder="benchmark")


def check_labels(model, parts: list[list[list[int]]], side: Side) -> None:
    """Ours in fp32 must say what PyTorch says of every message."""
    for number, part in enumerate(parts):
        with torch.no_grad():
            expected = [
                LABELS[int(model(torch.from_numpy(pad_batch([ids], MAX_LENGTH, PAD)))[0].argmax())]
                for ids in part
            ]
        if side.labels[number] != expected:
            raise SystemExit("the labels differ from PyTorch's")
    print(f"all {sum(map(len, parts))} labels of ours in fp32 are PyTorch's")


def cascade_line(found: dict) -> str:
    """What a cascade asked, what it leaves, and how its speed compares with ours in int8."""
    proof = found["proof"]
    return (
        f"{found['side']}: {found['asked']:,} of {found['messages']:,} asked of "
        f"{found['slow']} ({found['share_asked']:.2%}); {proof['differ']:,} of "
        f"{proof['messages']:,} labels differ from its own, at most {show_bound(found['bound'])} "
        f"with {found['confidence']:.0%} confidence; {found['times_int8']:.1f} times ours in int8"
    )


if __name__ == "__main__":
    main()
