"""Where a run's weights come from, and what is said of them."""

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from batch.errors import UnavailableError, UsageError
from batch.reading.fingerprint import hash_file
from trainer.fetch.sources import CHECKPOINT_FILES
from trainer.fetch.weight_files import WeightFiles
from trainer.model import initial_weights
from trainer.model.initial_weights import resolve_weights

MINI_FILE = Path(initial_weights.__file__).with_name("gpt2-mini.safetensors")
MINI = (
    "gpt2-mini, a small GPT-2 pretrained by this project on 25,999,360 tokens, finetuned on this "
    "data; not OpenAI's GPT-2."
)


@pytest.fixture
def no_sources(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """GPT-2's weights cannot be had; the list holds what was asked for."""
    asked: list[tuple] = []

    def fail(folder: Path, size: str, kind: str | None = None, source: Path | None = None):
        asked.append((size, kind, source))
        raise UnavailableError("no source of the weights works")

    monkeypatch.setattr(initial_weights, "fetch_weights", fail)
    return asked


class TestResolveWeights:
    def test_auto_falls_back_and_says_so(self, tmp_path: Path, no_sources, caplog) -> None:
        caplog.set_level("INFO", logger="trainer")
        weights = resolve_weights("auto", None, tmp_path)
        assert no_sources == [("gpt2-small", None, None)]
        assert (weights.size, weights.kind) == ("gpt2-mini", "base")
        assert weights.statement == MINI
        assert [(record.levelno, record.message) for record in caplog.records] == [
            (logging.INFO, "no source of the weights works"),
            (logging.WARNING, f"WARNING: GPT-2's weights are not available here. {MINI}"),
        ]

    def test_the_base_that_comes_with_it(self, tmp_path: Path, no_sources) -> None:
        weights = resolve_weights("gpt2-mini", None, tmp_path)
        assert no_sources == []
        assert weights.describe() == {
            "kind": "base",
            "origin": "comes with spam-train",
            "sha256": {"gpt2-mini.safetensors": hash_file(MINI_FILE)},
            "statement": MINI,
        }
        assert MINI_FILE.stat().st_size < 8_000_000
        with pytest.raises(UsageError) as caught:
            resolve_weights("gpt2-mini", "gpt2-medium", tmp_path)
        assert (
            str(caught.value) == "--weights gpt2-mini has one size; leave out --model gpt2-medium"
        )
        with pytest.raises(UsageError) as caught:
            resolve_weights(str(MINI_FILE), "gpt2-xl", tmp_path)
        assert str(caught.value) == f"{MINI_FILE} is a gpt2-mini; leave out --model gpt2-xl"

    @pytest.mark.parametrize(
        ("spec", "size", "asked"),
        [
            ("gpt2", None, ("gpt2-small", None, None)),
            ("openai", None, ("gpt2-small", "openai", None)),
            ("huggingface", "gpt2-xl", ("gpt2-xl", "huggingface", None)),
            ("some/folder", None, ("gpt2-small", None, Path("some/folder"))),
            ("auto", "gpt2-medium", ("gpt2-medium", None, None)),
        ],
    )
    def test_nothing_else_falls_back(self, tmp_path, no_sources, spec, size, asked) -> None:
        with pytest.raises(UnavailableError, match=r"^no source of the weights works$"):
            resolve_weights(spec, size, tmp_path)
        assert no_sources == [asked]

    @pytest.mark.parametrize(
        ("spec", "size", "expected"),
        [
            ("random", None, "starter"),
            ("auto", "starter", "starter"),
            ("random", "gpt2-large", "gpt2-large"),
        ],
    )
    def test_random_asks_for_nothing(self, tmp_path, no_sources, spec, size, expected) -> None:
        weights = resolve_weights(spec, size, tmp_path)
        assert (weights.size, weights.kind, weights.tensors) == (expected, "random", None)
        assert weights.statement.endswith(
            ", trained from random weights on this data alone; not pretrained GPT-2."
        )
        assert no_sources == []

    def test_starter_has_no_published_weights(self, tmp_path: Path, no_sources) -> None:
        expected = "^no weights are published for the starter; use --weights random$"
        with pytest.raises(UsageError, match=expected):
            resolve_weights("gpt2", "starter", tmp_path)
        assert no_sources == []

    def test_published_tensors(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "model.safetensors"
        save_file({"ln_f.bias": torch.arange(3.0)}, path)
        files = WeightFiles("huggingface", path, "a hub", {"model.safetensors": "abc"})
        monkeypatch.setattr(initial_weights, "fetch_weights", lambda *asked: files)
        weights = resolve_weights("auto", None, tmp_path)
        assert weights.tensors["ln_f.bias"].tolist() == [0, 1, 2]
        assert weights.describe() == {
            "kind": "huggingface",
            "origin": "a hub",
            "sha256": {"model.safetensors": "abc"},
            "statement": "gpt2-small, pretrained by OpenAI (a hub), finetuned on this data.",
        }

    def test_a_file_by_path_is_openais_only_if_its_hash_is(self, tmp_path: Path) -> None:
        """The real tables: gpt2-small has a published hash here, gpt2-medium has none."""
        path = tmp_path / "mine.safetensors"
        save_file({"ln_f.bias": torch.arange(3.0)}, path)
        found = hash_file(path)
        assert resolve_weights(str(path), None, tmp_path).describe() == {
            "kind": "huggingface",
            "origin": "given: mine.safetensors",
            "sha256": {"mine.safetensors": found},
            "statement": f"gpt2-small, from mine.safetensors (SHA-256 {found}), which is not the "
            "published file; finetuned on this data.",
        }
        assert resolve_weights(str(path), "gpt2-medium", tmp_path).statement == (
            f"gpt2-medium, from mine.safetensors (SHA-256 {found}), of which no published SHA-256 "
            "is known here, so it may not be OpenAI's; finetuned on this data."
        )

    def test_a_checkpoint_is_named_by_the_file_of_its_tensors(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(initial_weights, "read_openai_checkpoint", lambda path: {})
        for name in CHECKPOINT_FILES:
            (tmp_path / name).write_text("mine", encoding="utf-8")
        found = hash_file(tmp_path / "checkpoint")
        assert resolve_weights(str(tmp_path), None, tmp_path).statement == (
            f"gpt2-small, from model.ckpt.data-00000-of-00001 (SHA-256 {found}), which is not the "
            "published file; finetuned on this data."
        )
