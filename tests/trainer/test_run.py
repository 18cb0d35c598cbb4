"""One run from files to run folder, and where its weights come from."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from batch.errors import InputError, OutputError, UnavailableError, UsageError
from batch.formats.input import Input
from batch.model.tokenizer import PAD_ID
from batch.reading.fingerprint import hash_file
from trainer.cli import main
from trainer.data.reading import ReadOptions
from trainer.data.sets import REJECTS
from trainer.fetch.sources import CHECKPOINT_FILES
from trainer.fetch.weight_files import WeightFiles
from trainer.model import initial_weights
from trainer.model.initial_weights import resolve_weights
from trainer.model.vocabulary import build_vocabulary
from trainer.recipe import RECIPES, get_recipe
from trainer.run import RunOptions, options_of_config, train
from trainer.run_folder import (
    RESULTS,
    begin_run,
    check_folder,
    read_config,
    read_model,
    remove_leftovers,
)
from trainer.training.checkpoint import write_checkpoint
from trainer.training.train_model import encode_parts, make_model
from trainer.training.watch import LINES

MINI_FILE = Path(initial_weights.__file__).with_name("gpt2-mini.safetensors")
MINI = (
    "gpt2-mini, a small GPT-2 pretrained by this project on 25,999,360 tokens, finetuned on this "
    "data; not OpenAI's GPT-2."
)
STARTER = (
    "The starter, a small model of GPT-2's architecture, trained from random weights on this "
    "data alone; not pretrained GPT-2."
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


@pytest.fixture(scope="module")
def trained(tmp_path_factory, messages_csv: Path, bpe_file: Path) -> tuple[Path, dict]:
    """A run folder of the recipe ``book``, and its metrics."""
    out = tmp_path_factory.mktemp("runs") / "deep" / "book"
    options = RunOptions(
        out=out,
        recipe="book",
        weights="random",
        size="starter",
        cache=out.parent / "cache",
        data=(messages_csv,),
        bpe=bpe_file,
        changes={"epochs": 2, "seed": 7},
        unsure_band=(0.4, 0.6),
        progress=False,
    )
    return out, train(options)


class TestTrain:
    def test_files(self, trained) -> None:
        out, _ = trained
        assert sorted(path.name for path in out.iterdir()) == [
            "accuracy-plot.pdf",
            "accuracy-plot.png",
            "config.json",
            "gpt2.tiktoken",
            "loss-plot.pdf",
            "loss-plot.png",
            "metrics.json",
            "metrics.jsonl",
            "model.safetensors",
            "predictions.csv",
            "report.html",
            "test.csv",
            "train.csv",
            "validation.csv",
        ]

    def test_config(self, trained, messages_csv: Path, bpe_file: Path) -> None:
        config = read_config(trained[0])
        assert config.labels == ["ham", "spam"]
        assert config.positive_label == "spam"
        assert config.unsure_band == config.arguments["unsure_band"] == [0.4, 0.6]
        assert config.recipe == get_recipe("book", from_random=True, epochs=2, seed=7).to_dict()
        assert config.model["pooling"] == "last_position"
        assert config.model["size"] == "starter"
        assert config.weights == {
            "kind": "random",
            "origin": "random",
            "sha256": {},
            "statement": STARTER,
        }
        assert config.data["sha256"] == hash_file(messages_csv)
        assert (config.data["rows"], config.data["is_partial"]) == (60, False)
        assert config.tokenizer_sha256 == hash_file(bpe_file)
        assert set(config.versions) >= {"python", "torch", "tiktoken", "pandas", "spam-batch"}

    def test_metrics(self, trained) -> None:
        out, metrics = trained
        assert json.loads((out / "metrics.json").read_bytes()) == metrics
        assert metrics["weights"] == STARTER
        assert metrics["messages"] == {"train": 42, "validation": 6, "test": 12}
        assert metrics["history"]["examples_seen"] == 2 * 40
        assert all(0 <= value <= 1 for value in metrics["accuracy"].values())

    def test_accuracy_is_that_of_the_saved_model(self, trained, tokenizer) -> None:
        out, metrics = trained
        config = read_config(out)
        frame = pd.read_csv(out / "test.csv", keep_default_na=False)
        model, right = read_model(out, config), 0
        for label, text in zip(frame["label"], frame["text"], strict=True):
            ids = tokenizer.encode(text, config.max_length)
            ids += [PAD_ID] * (config.max_length - len(ids))
            with torch.no_grad():
                right += config.labels[model(torch.tensor([ids])).argmax()] == label
        assert right / 12 == metrics["accuracy"]["test"]

    def test_other_columns_three_classes_unbalanced(self, tmp_path: Path, bpe_file: Path) -> None:
        data = tmp_path / "tickets.tsv"
        lines = [
            f"{name}\t{name} {'x' * i}" for i in range(20) for name in ("bill", "net", "other")
        ]
        data.write_text("\n".join(["queue\tbody", *lines[:-4]]), encoding="utf-8")
        options = RunOptions(
            out=tmp_path / "run",
            weights="random",
            data=(data,),
            bpe=bpe_file,
            reading=ReadOptions("queue", Input("", text_column="body")),
            changes={"epochs": 1, "balance": False},
            progress=False,
        )
        metrics = train(options)
        config = read_config(tmp_path / "run")
        assert sum(metrics["messages"].values()) == 56
        assert config.labels == ["bill", "net", "other"]
        assert config.positive_label is None
        assert read_model(tmp_path / "run", config).score.out_features == 3

    def test_positive_label_that_is_none_of_them(self, trained, messages_csv, bpe_file) -> None:
        out, _ = trained
        options = RunOptions(
            out=out.parent / "other", weights="random", data=(messages_csv,), bpe=bpe_file,
            positive_label="Spum", progress=False,
        )  # fmt: skip
        expected = "^--positive-label 'Spum' is not among the labels: 'ham', 'spam'$"
        with pytest.raises(UsageError, match=expected):
            train(options)
        assert not options.out.exists()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"unsure_band": (0.6, 0.9)},
                "the threshold 0.5 is outside the unsure band 0.6,0.9; give a band that "
                "contains it, another threshold, or none as the band",
            ),
            (
                {"unsure_band": (0.4, 0.6), "max_blocked": 0.01},
                "--unsure-band and --max-ham-blocked both choose the score from which the positive "
                "label is given; give only one of them",
            ),
        ],
    )
    def test_a_band_that_is_refused(
        self, tmp_path: Path, messages_csv, bpe_file, changes, message
    ) -> None:
        options = RunOptions(
            out=tmp_path / "run", weights="random", data=(messages_csv,), bpe=bpe_file,
            progress=False, **changes,
        )  # fmt: skip
        with pytest.raises(UsageError) as caught:
            train(options)
        assert str(caught.value) == message
        assert not options.out.exists()


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


class TestEncodeParts:
    WEIGHTS = resolve_weights("random", None, Path("no-cache"))

    def parts(self, **texts: str) -> dict[str, pd.DataFrame]:
        return {
            name: pd.DataFrame({"label": ["ham", "spam"], "text": ["time", text]})
            for name, text in texts.items()
        }

    def encode(self, tokenizer, max_length: int | None = None, train: str = "time time"):
        parts = self.parts(train=train, validation="time " * 9, test="")
        recipe = replace(RECIPES["default"], max_length=max_length)
        return encode_parts(parts, ["ham", "spam"], tokenizer, recipe, self.WEIGHTS)

    def test_longest_training_message_decides(self, tokenizer) -> None:
        sets, max_length = self.encode(tokenizer)
        assert max_length == 2
        assert [data.ids.shape[1] for data in sets.values()] == [2, 2, 2]
        assert [data.truncated for data in sets.values()] == [0, 1, 0]

    def test_longer_than_the_context_is_cut(self, tokenizer, caplog) -> None:
        caplog.set_level("INFO", logger="trainer")
        sets, max_length = self.encode(tokenizer, train=" time" * 2000)
        assert max_length == sets["train"].ids.shape[1] == 1024
        assert caplog.messages == [
            "The longest training message has 2000 tokens; messages are truncated to 1024."
        ]
        assert sets["train"].truncated == 1

    def test_max_length_beyond_the_context_is_refused(self, tokenizer) -> None:
        expected = "^--max-length 1025 is more than the model's 1024 tokens$"
        with pytest.raises(UsageError, match=expected):
            self.encode(tokenizer, max_length=1025)

    def test_starter_gets_a_vocabulary_of_its_own(self, tokenizer) -> None:
        vocabulary = build_vocabulary([[2435], [2435]], tokenizer, min_count=2)
        model = make_model(self.WEIGHTS, RECIPES["book"], vocabulary, classes=3)
        assert model.config.remapped
        assert model.transformer.wte.num_embeddings == vocabulary.rows
        assert torch.equal(model.transformer.token_map, vocabulary.token_map)
        assert (model.config.pooling, model.config.classes) == ("last_position", 3)
        plain = make_model(self.WEIGHTS, RECIPES["default"], None, classes=2)
        assert (plain.config.remapped, plain.config.vocab_size) == (False, 50257)


class TestFolders:
    def test_the_data_is_not_overwritten(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").write_text("label,text\n")
        with pytest.raises(OutputError) as caught:
            check_folder(tmp_path, tmp_path / "train.csv")
        assert str(caught.value) == (
            f"{tmp_path / 'train.csv'} lies in the run folder {tmp_path}; give another --out"
        )

    def test_another_folder_is_left_as_it_is(self, tmp_path: Path) -> None:
        check_folder(tmp_path, None)  # empty
        check_folder(tmp_path / "new", None)
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(OutputError) as caught:
            check_folder(tmp_path, None)
        assert str(caught.value) == (
            f"{tmp_path} exists and is not a run folder; it was left as it is; give another --out"
        )
        with pytest.raises(OutputError) as caught:
            check_folder(tmp_path / "config.json", None)
        assert str(caught.value) == (
            f"{tmp_path / 'config.json'} is not a folder; give another --out"
        )

    def test_the_names_of_a_runs_files(self, trained) -> None:
        assert sorted(path.name for path in trained[0].iterdir()) == sorted(
            {*RESULTS, LINES} - {REJECTS}
        )

    @pytest.mark.parametrize("name", ["notes.txt", ".gitkeep", ".DS_Store", "bundle", "train.csv"])
    def test_what_is_no_file_of_the_run_is_not_lost(self, trained, tmp_path, name: str) -> None:
        out, mine = tmp_path / "run", tmp_path / "mine"
        shutil.copytree(trained[0], out)
        check_folder(out)  # ours, and nothing else
        mine.write_text("mine")
        if name == "bundle":
            (out / name).mkdir()
        elif name == "train.csv":
            (out / name).unlink()
            (out / name).symlink_to(mine)
        else:
            (out / name).write_text("mine")
        with pytest.raises(OutputError) as caught:
            check_folder(out)
        assert str(caught.value) == (
            f"{out / name} is not a file of a run, and --out would write a run beside it; it was "
            "left as it is; move it, or give another --out"
        )
        assert mine.read_text() == "mine"

    def test_settings_without_the_rest_are_no_run(self, trained, tmp_path: Path) -> None:
        """Somebody's own sets beside the ``config.json`` that they want to repeat."""
        shutil.copyfile(trained[0] / "config.json", tmp_path / "config.json")
        (tmp_path / "train.csv").write_text("mine")
        with pytest.raises(OutputError) as caught:
            check_folder(tmp_path)
        assert str(caught.value) == (
            f"{tmp_path} exists and is not a run folder; it was left as it is; give another --out"
        )

    def test_a_run_that_was_killed_before_its_first_checkpoint_is_ours(self, tmp_path) -> None:
        (tmp_path / LINES).write_text('{"step": 0, "epoch": 1, "train_loss": 0.5}\n')
        check_folder(tmp_path)
        (tmp_path / LINES).write_text("mine")
        with pytest.raises(OutputError):
            check_folder(tmp_path)

    def test_a_killed_run_is_ours(self, tmp_path: Path) -> None:
        left = tmp_path / f".checkpoint.pt.{'0' * 16}.part"  # killed in its first checkpoint
        left.write_bytes(b"half")
        check_folder(tmp_path)
        write_checkpoint(tmp_path / "checkpoint.pt", {"a": "b"}, {})
        (tmp_path / "checkpoint.pt.part").write_bytes(b"half")  # of the version before
        (tmp_path / "model.safetensors").write_bytes(b"half")
        check_folder(tmp_path)
        remove_leftovers(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "checkpoint.pt", "checkpoint.pt.part", "model.safetensors",
        ]  # fmt: skip

    @pytest.mark.parametrize("options", [[], ["--restart"]])
    def test_somebody_elses_checkpoint_and_sets(
        self, invoke, tmp_path: Path, messages_csv, bpe_file, options
    ) -> None:
        out = tmp_path / "theirs"
        out.mkdir()
        torch.save({"epoch": 3, "model": {"w": torch.ones(2)}}, out / "checkpoint.pt")
        (out / "train.csv").write_text("mine")
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        result = invoke(
            main, "fit", "--data", messages_csv, "--bpe", bpe_file, "--weights", "random",
            "--epochs", 1, "--cache", tmp_path / "cache", "--out", out, "--quiet", *options,
        )  # fmt: skip
        assert (result.exit_code, result.stdout) == (73, "")
        assert result.stderr == (
            f"spam-train: error: {out / 'checkpoint.pt'} is not a checkpoint of spam-train, or is "
            "damaged; it was left as it is; move it, or give another --out\n"
        )
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    @pytest.mark.parametrize("name", ["train.csv", "model.safetensors", "gpt2.tiktoken"])
    def test_a_run_is_not_replaced_by_one_that_reads_it(
        self, invoke, trained, tmp_path: Path, messages_csv, bpe_file, name: str
    ) -> None:
        out = tmp_path / "run"
        shutil.copytree(trained[0], out)
        data, bpe = ["--data", messages_csv], ["--bpe", bpe_file]
        given = {
            "train.csv": ["--data", out / name, *bpe, "--weights", "random"],
            "model.safetensors": [*data, *bpe, "--weights", out / name],
            "gpt2.tiktoken": [*data, "--cache", out, "--weights", "random"],
        }[name]
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        cache = [] if "--cache" in given else ["--cache", tmp_path / "cache"]
        result = invoke(main, "fit", *given, *cache, "--out", out, "--quiet")
        assert (result.exit_code, result.stdout) == (73, "")
        assert result.stderr == (
            f"spam-train: error: {out / name} lies in the run folder {out}; give another --out\n"
        )
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    def test_a_link_to_a_run_folder(self, trained, tmp_path: Path) -> None:
        shutil.copytree(trained[0], tmp_path / "run")
        (tmp_path / "link").symlink_to("run")
        check_folder(tmp_path / "link")
        begin_run(tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert [path.name for path in (tmp_path / "run").iterdir()] == [LINES]

    def test_a_run_can_be_repeated(self, trained, tmp_path: Path, messages_csv, bpe_file) -> None:
        first, _ = trained
        options = options_of_config(
            first / "config.json",
            RunOptions(out=tmp_path / "again", bpe=bpe_file, cache=tmp_path, progress=False),
        )
        train(options)
        ours, theirs = ((folder / "model.safetensors").read_bytes() for folder in
                        (tmp_path / "again", first))  # fmt: skip
        assert ours == theirs
        assert read_config(tmp_path / "again").unsure_band == [0.4, 0.6]
        changed = replace(options, expected={**options.expected, "data": "0" * 64})
        with pytest.raises(InputError) as caught:
            train(replace(changed, out=tmp_path / "third"))
        assert str(caught.value) == (
            "the data of this run differ from those of the first: "
            f"{hash_file(messages_csv)} instead of {'0' * 64}"
        )
