"""Messages a second: ours, its ceiling, and the peers, taking turns in one run.

Random weights of gpt2-small's shape (or --size), the same for all sides, and the messages of
--data, or made-up ones of the SMS collection's length distribution. No message comes twice.

(a) the notebook's loop: PyTorch, one message at a time, padded to 120 tokens
(b) transformers' pipeline, (c) optimum-onnx's pipeline in fp32 and its dynamic int8, each at
    the best of the batch sizes tried; (d) onnxruntime, every message padded to 120, in batches
(e) ours: ``Classifier.classify`` in fp32 and int8; (f) the ceiling: the same matrix products
    alone. Then the host path by itself, with a model that costs nothing.

    python benchmarks/throughput.py --data SMSSpamCollection --peers .venv-peers/bin/python
"""

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from export import BareProducts
from messages import read_texts
from peer_process import PeerProcess, make_model, write_peer_folder
from scratch import scratch_folder

from batch.model.batching import BATCH_TOKENS, cut_batches, pad_batch
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
Side = Callable[[], tuple[float, list[str] | None]]


def notebook_loop(model, sequences, texts_limit: int) -> Side:
    """(a), on the first ``texts_limit`` messages; seconds are counted up to all."""

    def run() -> tuple[float, list[str]]:
        part = sequences[:texts_limit]
        start = time.perf_counter()
        labels = []
        with torch.no_grad():
            for ids in part:
                padded = torch.from_numpy(pad_batch([ids], MAX_LENGTH, PAD))
                labels.append(LABELS[int(model.forward_plain(padded)[0].argmax())])
        return (time.perf_counter() - start) * len(sequences) / len(part), labels

    return run


def padded_batches(session: InferenceSession, sequences, limit: int) -> Side:
    """(d), in batches of 8 as the notebook trains."""

    def run() -> tuple[float, list[str]]:
        part = sequences[:limit]
        start = time.perf_counter()
        logits = [
            session.run(pad_batch(part[first : first + 8], MAX_LENGTH, PAD))
            for first in range(0, len(part), 8)
        ]
        seconds = (time.perf_counter() - start) * len(sequences) / len(part)
        return seconds, [LABELS[row] for row in np.concatenate(logits).argmax(axis=1)]

    return run


def ours(classifier: Classifier, texts: list[str]) -> Side:
    def run() -> tuple[float, list[str]]:
        classifier.clear_cache()
        start = time.perf_counter()
        labels = classifier.classify(texts).labels
        return time.perf_counter() - start, labels

    return run


def best_pipeline(peer, name: str, texts: list[str], limit: int) -> tuple[str, Side]:
    """The fastest batch size of a peer's pipeline, messages in order of length for its sake."""
    part = sorted(texts[:limit], key=len)

    def run(batch_size: int) -> tuple[float, None]:
        answer = peer.label(name=name, texts=part, batch_size=batch_size, max_length=MAX_LENGTH)
        return answer["seconds"] * len(texts) / len(part), None

    sizes = {size: run(size)[0] for size in (1, 8, 32)}
    best = min(sizes, key=sizes.__getitem__)
    return f"batch size {best}", lambda: run(best)


def take_turns(sides: dict[str, Side], repeats: int) -> tuple[dict, dict]:
    """Seconds of each side over ``repeats`` rounds after one to warm up, and its labels."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    labels = {}
    for repeat in range(repeats + 1):
        for name, run in sides.items():
            taken, labels[name] = run()
            if repeat:
                seconds[name].append(taken)
    return seconds, labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--bpe", type=Path, default=Path("data/gpt2.tiktoken"))
    parser.add_argument("--peers", default=".venv-peers/bin/python")
    parser.add_argument("--size", default="gpt2-small")
    parser.add_argument("--messages", type=int, default=200)
    parser.add_argument("--slow-messages", type=int, default=40, help="For the slowest sides.")
    parser.add_argument("--repeats", type=int, default=5)
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
        classifiers[precision] = Classifier(fake_bundle(), session, tokenizer, precision)
    with PeerProcess(args.peers, folder / "peer", args.threads) as peer:
        versions = peer.versions()
        peer.export()
        slow = args.slow_messages
        sides: dict[str, Side] = {
            "(a) the notebook's loop": notebook_loop(model, sequences, slow),
        }
        for letter, name, key in (
            ("b", "transformers pipeline", "transformers"),
            ("c", "optimum-onnx pipeline, fp32", "onnx"),
            ("c", "optimum-onnx pipeline, int8", "onnx-int8"),
        ):
            setting, side = best_pipeline(peer, key, texts, slow)
            sides[f"({letter}) {name}, {setting}"] = side
        sides["(d) onnxruntime, padded to 120"] = padded_batches(
            classifiers["fp32"].session, sequences, slow
        )
        for precision, classifier in classifiers.items():
            sides[f"(e) ours, {precision}"] = ours(classifier, texts)
        batches = [
            (rows, pad_batch([sequences[row] for row in rows], width, PAD))
            for rows, width in cut_batches([len(ids) for ids in sequences], BATCH_TOKENS["cpu"])
        ]
        for precision in classifiers:
            products = BareProducts(plain, batches, args.threads, precision)
            sides[f"(f) matrix products alone, {precision}"] = lambda p=products: (p.run(), None)
        seconds, labels = take_turns(sides, args.repeats)
    check_labels(model, sequences, labels["(e) ours, fp32"])
    rows = print_table(seconds, len(texts))
    if args.bundle.is_dir():
        host = run_host(args, folder)
    else:
        host = None
        print(f"the host path was not measured: {args.bundle} is missing; make train export")
    return {
        "date": datetime.date.today().isoformat(), "machine": machine, "threads": args.threads,
        "size": args.size, "messages": len(texts), "tokens": sum(map(len, sequences)),
        "repeats": args.repeats, "peers": versions, "sides": rows, "host": host,
    }  # fmt: skip


def run_host(args: argparse.Namespace, folder: Path) -> dict:
    """The host path, in a process without torch, as ``spam-batch`` is one."""
    out = folder / "host.json"
    command = [sys.executable, Path(__file__).with_name("host.py"), "--bundle", args.bundle]
    command += ["--rows", args.host_rows, "--out", out]
    command += ["--data", args.data] if args.data else []
    subprocess.run(list(map(str, command)), check=True)
    return json.loads(out.read_text(encoding="utf-8"))


def fake_bundle() -> SimpleNamespace:
    """What Classifier reads of a bundle: no thresholds, no files."""
    manifest = SimpleNamespace(
        labels=LABELS, positive_label=None, threshold=0.5, temperature=1.0, max_length=MAX_LENGTH,
        fixed_length=False, pad_id=PAD,
        unsure_band=None,
    )  # fmt: skip
    return SimpleNamespace(manifest=manifest, folder="benchmark")


def check_labels(model, sequences, found: list[str]) -> None:
    """Ours in fp32 must say what PyTorch says of every message."""
    with torch.no_grad():
        expected = [
            LABELS[int(model(torch.from_numpy(pad_batch([ids], MAX_LENGTH, PAD)))[0].argmax())]
            for ids in sequences
        ]
    if found != expected:
        raise SystemExit("the labels differ from PyTorch's")
    print(f"all {len(found)} labels of ours in fp32 are PyTorch's")


def print_table(seconds: dict[str, list[float]], count: int) -> list[dict]:
    base = statistics.median(seconds["(a) the notebook's loop"])
    print("| side | messages a second | spread | times (a) |\n| --- | ---: | ---: | ---: |")
    rows = []
    for name, taken in seconds.items():
        median = statistics.median(taken)
        low, high = count / max(taken), count / min(taken)
        print(f"| {name} | {count / median:.1f} | {low:.1f} to {high:.1f} | {base / median:.1f} |")
        rows.append({"name": name, "messages_per_second": count / median, "low": low,
                     "high": high, "times_a": base / median})  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
