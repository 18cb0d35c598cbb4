"""What production loads and opens: nothing of the training stack, and no socket."""

import json
import shutil
import subprocess
import sys

import pytest

HEAVY = {"torch", "tensorflow", "pandas", "transformers", "trainer", "exporter", "onnx"}


def test_help_imports_nothing_slow(root):
    command = [sys.executable, "-X", "importtime", "-m", "batch", "--help"]
    done = subprocess.run(command, cwd=root, capture_output=True, check=True, timeout=120)
    lines = done.stderr.decode().splitlines()
    imported = {line.split("|")[-1].strip().split(".")[0] for line in lines}
    assert {"click", "batch"} <= imported
    assert not imported & (HEAVY | {"cloup", "numpy", "onnxruntime", "tiktoken", "tqdm"})


LABEL_A_FILE = """
import json, sys
events = []
sys.addaudithook(lambda name, _: events.append(name) if name.startswith("socket.") else None)
from batch.formats.input import Input
from batch.model.bundle import open_bundle
from batch.model.classifier import Classifier
from batch.model.lazy_classifier import LazyClassifier
from batch.run.classify import classify_file
from batch.run.job import Job
source, out, bundle = sys.argv[1:]
load = lambda: Classifier.load(bundle, "cpu", 1)
summary = classify_file(Job(Input(source), out), LazyClassifier(open_bundle(bundle), load))
seen = list(events)
roots = {name.split(".")[0] for name in sys.modules}
import socket
socket.socket().close()
print(json.dumps([summary.progress.records, seen, sorted(roots), events]))
"""


def test_labelling_opens_no_socket_and_imports_no_training_stack(root, bundle, tmp_path):
    inbox = root / "examples" / "inbox.csv"
    arguments = [str(inbox), str(tmp_path / "out.csv"), str(bundle)]
    command = [sys.executable, "-c", LABEL_A_FILE, *arguments]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    records, opened, imported, control = json.loads(done.stdout)
    assert records == 150
    assert opened == []
    assert control != []  # the hook does see a socket
    assert {"onnxruntime", "tiktoken", "numpy"} <= set(imported)
    assert not set(imported) & HEAVY


def unshare_problem() -> str:
    """Why a process without a network cannot be had here, or nothing."""
    if not shutil.which("unshare"):
        return "there is no unshare"
    tried = subprocess.run(["unshare", "-rn", "true"], capture_output=True, text=True)
    return tried.stderr.strip() if tried.returncode else ""


def test_labels_without_a_network(root, bundle, tmp_path, run_cli):
    if problem := unshare_problem():
        pytest.skip(problem)
    inbox, alone = root / "examples" / "inbox.csv", tmp_path / "alone.csv"
    args = ["classify", str(inbox), "--bundle", str(bundle), "--out"]
    command = ["unshare", "-rn", sys.executable, "-m", "batch", *args, str(alone)]
    subprocess.run(command, capture_output=True, check=True, timeout=120)
    assert run_cli("batch", *args, tmp_path / "online.csv").returncode == 0
    assert alone.read_bytes() == (tmp_path / "online.csv").read_bytes()
    assert alone.read_bytes().count(b",ham,") > 0


def test_the_home_folder_stays_empty(root, bundle, tmp_path):
    """onnxruntime would make a data base of its use there as soon as it is imported."""
    home, out = tmp_path / "home", tmp_path / "out.csv"
    home.mkdir()
    args = ["classify", str(root / "examples" / "inbox.csv"), "--out", str(out)]
    command = [sys.executable, "-m", "batch", *args, "--bundle", str(bundle), "--device", "cpu"]
    env = {"HOME": str(home)}  # nothing else: on a build server, by its variables, it would not
    subprocess.run(command, cwd=root, env=env, capture_output=True, check=True, timeout=120)
    assert b"\n150," in out.read_bytes()
    assert list(home.rglob("*")) == []
