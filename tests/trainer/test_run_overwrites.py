"""Which folders a run may write to, and that a run can be repeated."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from batch.errors import InputError, OutputError
from batch.reading.fingerprint import hash_file
from trainer.cli import main
from trainer.data.sets import REJECTS
from trainer.run import RunOptions, options_of_config, train
from trainer.run_folder import (
    RESULTS,
    begin_run,
    check_folder,
    read_config,
    remove_leftovers,
)
from trainer.training.checkpoint import write_checkpoint
from trainer.training.watch import LINES


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
