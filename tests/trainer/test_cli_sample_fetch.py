"""``spam-train sample`` and ``fetch`` as a user meets them, and the help of each command."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from trainer.cli import main
from trainer.model.generate import generate_greedy
from trainer.model.gpt2 import SIZES
from trainer.model.load_weights import is_conv1d


class TestSample:
    def test_checkpoint_of_huggingface(
        self, invoke, tiny_model, tokenizer, bpe_file, tmp_path, monkeypatch
    ) -> None:
        monkeypatch.setitem(SIZES, "gpt2-small", tiny_model().config)
        trunk = tiny_model().transformer
        tensors = trunk.state_dict().items()
        path = tmp_path / "model.safetensors"
        save_file({n: t.T.contiguous() if is_conv1d(n) else t for n, t in tensors}, path)
        result = invoke(
            main, "sample", "Every effort moves you", "--weights", path, "--new-tokens", 4,
            "--bpe", bpe_file, "--cache", tmp_path,
        )  # fmt: skip
        assert result.exit_code == 0, result.stderr
        prompt = torch.tensor([tokenizer.encode("Every effort moves you")])
        expected = tokenizer.decode(generate_greedy(trunk, prompt, 4)[0].tolist())
        assert result.stdout == f"{expected}\n"
        assert result.stdout.startswith("Every effort moves you")

    def test_random_weights_are_told(self, invoke, bpe_file: Path, tmp_path: Path) -> None:
        result = invoke(
            main, "sample", "Every effort", "--weights", "random", "--new-tokens", 1,
            "--bpe", bpe_file, "--cache", tmp_path,
        )  # fmt: skip
        assert result.exit_code == 0, result.stderr
        assert result.stderr == "WARNING: the weights are random; the text will make no sense.\n"
        assert result.stdout.startswith("Every effort")


class TestFetch:
    def test_given_files(self, invoke, messages_csv, bpe_file: Path, tmp_path: Path) -> None:
        data = invoke(main, "fetch", "data", "--from", messages_csv, "--cache", tmp_path)
        assert data.stdout == f"data: {messages_csv} (91 lines; given: messages.csv)\n"
        bpe = invoke(main, "fetch", "bpe", "--from", bpe_file, "--cache", tmp_path)
        ranks = tmp_path / "gpt2.tiktoken"
        assert bpe.stdout == f"bpe: {ranks} (given: gpt2.tiktoken)\n"
        assert ranks.read_bytes() == bpe_file.read_bytes()

    def test_from_needs_a_kind(self, invoke, messages_csv: Path) -> None:
        result = invoke(main, "fetch", "--from", messages_csv)
        assert result.exit_code == 2
        assert result.stderr.endswith(
            "Error: --from needs one kind of file; say which: data, bpe or weights\n"
        )


@pytest.mark.parametrize("command", ["fetch", "fit", "classify", "sample"])
def test_help_has_an_example(invoke, command: str) -> None:
    result = invoke(main, command, "--help")
    assert result.exit_code == 0
    assert f"Example:\n    spam-train {command} " in result.stdout
