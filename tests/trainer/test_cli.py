"""spam-train as a user meets it: standard output, standard error, exit status, files."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from batch.errors import UnavailableError
from batch.reading.fingerprint import hash_file
from trainer import run
from trainer.cli import main
from trainer.fetch import sources
from trainer.model import initial_weights
from trainer.run_folder import read_config, read_model

MINI = (
    "gpt2-mini, a small GPT-2 pretrained by this project on 25,999,360 tokens, finetuned on this "
    "data; not OpenAI's GPT-2."
)
STARTER = (
    "The starter, a small model of GPT-2's architecture, trained from random weights on this "
    "data alone; not pretrained GPT-2."
)
ACCURACIES = [
    r"train accuracy: \d+\.\d\d% of 42 messages",
    r"validation accuracy: \d+\.\d\d% of 6 messages",
    r"test accuracy: \d+\.\d\d% of 12 messages",
]


@pytest.fixture
def given(messages_csv: Path, bpe_file: Path, tmp_path: Path) -> list[object]:
    """Options that keep ``fit`` short and away from the network."""
    return ["--data", messages_csv, "--bpe", bpe_file, "--epochs", 1, "--cache", tmp_path / "data"]


@pytest.fixture
def unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*asked: object) -> None:
        raise UnavailableError(
            "weights of gpt2-small: no source works\n"
            "  https://a.example/124M: the server answered 404 Not Found\n"
            "get it elsewhere, then type: spam-train fetch weights --from PATH"
        )

    monkeypatch.setattr(initial_weights, "fetch_weights", fail)


def test_out_of_memory(invoke, given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command resumes, and what the line advises trains: half the batch, twice."""
    fit = ["fit", "--weights", "random", "--out", tmp_path / "run", *given, "--epochs", 2]
    step, count = torch.optim.AdamW.step, 0

    def fail(self, *args, **options):
        nonlocal count
        count += 1
        if count == 8:  # 42 messages are 5 batches of 8
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return step(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", fail)
    result = invoke(main, *fit)
    assert result.exit_code == 71
    assert result.stderr.splitlines()[-2:] == [
        "The checkpoint of the last whole epoch is kept; the same command resumes from it.",
        "spam-train: error: out of memory; type half the --batch-size with twice the --accumulate, "
        "or a smaller --max-length or --model, and training starts over; or free memory and type "
        "the same command, which resumes from the last whole epoch",
    ]
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    assert "of another run; starting over" not in (found := invoke(main, *fit)).stderr
    assert found.exit_code == 0
    assert invoke(main, *fit, "--batch-size", 4, "--accumulate", 2).exit_code == 0


WINNER, DINNER = 'WINNER 17! Call 0900-17, "free" prize', "See you at 17\nfor dinner 😀"
LOGIT = 1.25  # of the class of a message's last token; one half for it and one against the other


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, messages_csv: Path, bpe_file: Path, tokenizer) -> Path:
    """As ``fit`` leaves it, but for the weights, which are given.

    The blocks add nothing, so that what the head reads is the last token's row of the
    embedding, normed: 1 and -1 in turn for WINNER's, the opposite for DINNER's.
    """
    out = tmp_path_factory.mktemp("runs") / "spam"
    options = run.RunOptions(
        out=out, weights="random", data=(messages_csv,), bpe=bpe_file, progress=False,
        changes={"epochs": 1},
    )  # fmt: skip
    run.train(options)
    model = read_model(out, read_config(out))
    trunk = model.transformer
    spam, ham = (trunk.token_map[tokenizer.encode(text)[-1]] for text in (WINNER, DINNER))
    assert spam != ham
    channels = trunk.wte.weight.shape[1]
    turns = 1.0 - 2 * (torch.arange(channels) % 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        trunk.wte.weight[spam], trunk.wte.weight[ham] = turns, -turns
        trunk.ln_f.weight.fill_(1)
        for number, sign in enumerate((-1, 1)):  # ham, spam
            model.score.weight[number] = sign * turns * LOGIT / 2 / channels
    save_file(model.state_dict(), out / "model.safetensors")
    metrics = json.loads((out / "metrics.json").read_bytes())
    metrics |= {"calibration": {"temperature": 2.0}, "threshold": {"value": 0.5}}
    (out / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    return out


class TestFit:
    def test_as_a_process(self, run_cli, given, tmp_path: Path) -> None:
        """Data on standard output, talk on standard error, a run folder, and a .pth on request."""
        out, pth = tmp_path / "run", tmp_path / "review_classifier.pth"
        done = run_cli(
            "trainer", "fit", "--model", "starter", "--weights", "random", "--out", out,
            "--pth", pth, "--recipe", "book", *given, text=True, encoding="utf-8",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        for pattern, line in zip(ACCURACIES, lines, strict=False):
            assert re.fullmatch(pattern, line)
        assert lines[3].startswith("| model ")
        assert lines[5].startswith("| test set            |       12 |")
        assert lines[6].startswith("| TF-IDF + linear SVM |       12 |")
        assert re.fullmatch(
            r"temperature \d+\.\d{3}: calibration error on test 0\.\d{4} before, "
            r"0\.\d{4} after; threshold 0\.5000",
            lines[7],
        )
        assert lines[8:] == [
            f"weights: {STARTER}",
            "positive label: spam",
            "data: messages.csv, 60 rows (given: messages.csv)",
            f"run folder: {out}",
        ]
        assert "Recipe: book. Device: " in done.stderr
        assert STARTER in done.stderr
        assert "Split: 42 train / 6 validation / 12 test; max_length " in done.stderr
        assert "5 train / 1 validation / 2 test batches" in done.stderr
        assert "Ep 1 (Step 000000): Train loss " in done.stderr
        assert "WARNING" not in done.stderr
        config = read_config(out)
        assert config.weights["statement"] == STARTER
        assert json.loads((out / "metrics.json").read_bytes())["weights"] == STARTER
        model = read_model(out, config)
        expected = model.score.weight.clone()
        torch.nn.init.zeros_(model.score.weight)
        model.load_state_dict(torch.load(pth, weights_only=True))
        assert torch.equal(model.score.weight, expected)

    def test_options_reach_the_recipe(self, invoke, given, tmp_path: Path) -> None:
        out = tmp_path / "run"
        result = invoke(
            main, "fit", "--weights", "random", "--out", out, *given, "--quiet", "--no-balance",
            "--seed", 5, "--batch-size", 4, "--max-length", 6, "--learning-rate", "0.002",
            "--label-column", "category", "--text-column", "message", "--positive-label", "ham",
            "--delimiter", ",", "--device", "cpu",
        )  # fmt: skip
        assert result.exit_code == 0, result.stderr
        assert result.stderr == ""
        config = read_config(out)
        changed = ("balance", "seed", "batch_size", "max_length", "learning_rate", "epochs")
        assert [config.recipe[key] for key in changed] == [False, 5, 4, 6, 0.002, 1]
        assert (config.recipe["pooling"], config.max_length) == ("last_token", 6)
        assert config.positive_label == "ham"

    def test_auto_falls_back_loudly(self, invoke, given, unavailable, tmp_path: Path) -> None:
        out = tmp_path / "run"
        result = invoke(main, "fit", "--out", out, "--quiet", *given)
        assert result.exit_code == 0, result.stderr
        assert result.stderr == f"WARNING: GPT-2's weights are not available here. {MINI}\n"
        assert f"weights: {MINI}\n" in result.stdout
        assert read_config(out).weights["kind"] == "base"

    def test_weights_by_name_do_not_fall_back(self, invoke, given, unavailable, tmp_path) -> None:
        out = tmp_path / "run"
        result = invoke(main, "fit", "--weights", "gpt2", "--out", out, *given)
        assert result.exit_code == 69
        assert result.stdout == ""
        # The data is looked at first: half a gigabyte is not fetched for a wrong column.
        assert result.stderr == (
            "60 records; 60 messages kept: 30 ham, 30 spam\n"
            "Positive label, whose probability is the score: spam\n"
            "spam-train: error: weights of gpt2-small: no source "
            "works; get it elsewhere, then type: spam-train fetch weights --from PATH\n"
        )
        assert not out.exists()

    def test_partial_data_is_told(
        self, invoke, given, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        given[1] = tmp_path / "sms.tsv"  # as the collection is written
        names = [f"{first}{second}l" for first in "bdfhjk" for second in "aeiou"]
        lines = [f"ham\tdinner with {name}\nspam\tprize of {name}\n" for name in names]
        given[1].write_text("".join(lines), encoding="utf-8")
        partial = replace(sources.DATA_WHEEL, sha256=hash_file(given[1]))
        monkeypatch.setattr(sources, "DATA_WHEEL", partial)
        result = invoke(
            main, "fit", "--weights", "random", "--out", tmp_path / "run", "--quiet", *given
        )
        assert result.exit_code == 0, result.stderr
        assert result.stderr == (
            "WARNING: an incomplete copy of the SMS Spam Collection: 60 lines of 5,574.\n"
        )
        assert (
            "WARNING: an incomplete copy of the SMS Spam Collection: 60 of 5,574 lines; "
            "these figures cannot be compared with the published ones.\n"
        ) in result.stdout
        assert read_config(tmp_path / "run").data["is_partial"] is True

    @pytest.mark.parametrize(
        ("options", "exit_code", "message"),
        [
            (
                ["--text-column", "body"],
                65,
                "{data}: the text column 'body' is not there; columns: 'id', 'message', 'category'",
            ),
            (["--labels", "ham"], 2, "--labels 'ham' must name two or more different classes; "
                "type for example: --labels ham,spam"),
            (["--max-rejects", "x"], 2, "--max-rejects: 'x' is neither a number of records nor a "
                "percentage up to 100; type for example 10 or 0.5%"),
            (
                ["--batch-size", 43],
                65,
                "42 training messages do not fill one batch of 43",
            ),
            (
                ["--positive-label", "eggs"],
                2,
                "--positive-label 'eggs' is not among the labels: 'ham', 'spam'",
            ),
            (
                ["--unsure-band", "0.4"],
                2,
                "--unsure-band '0.4' is neither two probabilities nor none; type for example: "
                "--unsure-band 0.35,0.65",
            ),
            (["--max-length", 0], 2, "--max-length '0' must be a token count or model"),
            (
                ["--max-length", "long"],
                2,
                "--max-length 'long' must be a token count or model",
            ),
            (
                ["--max-length", 1025],
                2,
                "--max-length 1025 is more than the model's 1024 tokens",
            ),
            (
                ["--model", "starter", "--weights", "gpt2"],
                2,
                "no weights are published for the starter; use --weights random",
            ),
        ],
    )  # fmt: skip
    def test_errors(self, invoke, given, tmp_path, options, exit_code, message) -> None:
        result = invoke(
            main, "fit", "--weights", "random", "--out", tmp_path / "run", "--quiet",
            *given, *options,
        )  # fmt: skip
        assert (result.exit_code, result.stdout) == (exit_code, "")
        told = message.replace("{data}", str(given[1]))
        assert result.stderr == f"spam-train: error: {told}\n"
        assert not (tmp_path / "run").exists()

    def test_a_budget_that_is_no_share(self, invoke, given) -> None:
        result = invoke(main, "fit", "--max-ham-blocked", 5, *given)
        assert (result.exit_code, result.stderr) == (
            2,
            "spam-train: error: --max-ham-blocked: '5' is not a share from 0 to 1; write 5 % as 5% "
            "or as 0.05\n",
        )

    def test_a_budget_needs_two_classes(self, invoke, bpe_file: Path, tmp_path: Path) -> None:
        data = tmp_path / "tickets.csv"
        data.write_text("label,text\n" + "bill,a\nnet,b\nother,c\n" * 20, encoding="utf-8")
        result = invoke(
            main, "fit", "--data", data, "--bpe", bpe_file, "--out", tmp_path / "run", "--quiet",
            "--cache", tmp_path, "--weights", "random", "--max-ham-blocked", "1%",
        )  # fmt: skip
        assert (result.exit_code, result.stdout) == (2, "")
        message = "--max-ham-blocked needs two classes, one of them the positive one"
        assert result.stderr == f"spam-train: error: {message}\n"

    def test_a_run_that_cannot_be_repeated(self, invoke, given, run_folder, tmp_path) -> None:
        config = json.loads((run_folder / "config.json").read_bytes())
        path = tmp_path / "config.json"
        path.write_text(json.dumps({**config, "arguments": {}}), encoding="utf-8")
        result = invoke(main, "fit", "--config", path, "--out", tmp_path / "run", *given)
        message = f"{path}: does not have the options of the run, so it cannot be repeated"
        assert (result.exit_code, result.stderr) == (65, f"spam-train: error: {message}\n")

    def test_output_that_cannot_be_made(self, invoke, given, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine", encoding="utf-8")
        out = tmp_path / "file" / "run"
        result = invoke(main, "fit", "--weights", "random", "--out", out, "--quiet", *given)
        assert result.exit_code == 73
        assert result.stderr == f"spam-train: error: cannot create {out}: Not a directory\n"


class TestClassify:
    @pytest.mark.parametrize(("text", "label"), [(WINNER, "spam"), (DINNER, "ham")])
    def test_label_and_probability_of_spam(self, invoke, run_folder, text, label) -> None:
        result = invoke(main, "classify", text, "--run", run_folder)
        assert result.exit_code == 0, result.stderr
        found, probability = result.stdout.rstrip("\n").split("\t")
        assert found == label
        sign = 1 if label == "spam" else -1
        theirs = 1 / (1 + math.exp(-sign * LOGIT / 2.0))  # the temperature
        assert float(probability) == pytest.approx(theirs, abs=1e-5)  # six digits; the norm's eps

    @pytest.mark.parametrize(
        "text", ["", "<|endoftext|>" * 200, "a" * 100_000, "word " * 20_000, "\n\r\n" * 40, "\0"]
    )
    def test_every_message_gets_a_label(self, invoke, run_folder: Path, text: str) -> None:
        result = invoke(main, "classify", text, "--run", run_folder)
        assert result.exit_code == 0, result.stderr
        assert re.fullmatch(r"(ham|spam)\t[01]\.\d{6}\n", result.stdout)

    def test_no_run_folder(self, invoke, tmp_path: Path) -> None:
        result = invoke(main, "classify", "hi", "--run", tmp_path)
        assert result.exit_code == 66
        assert result.stderr == (
            f"spam-train: error: {tmp_path} is not a run folder (it has no config.json); "
            "make one with: spam-train fit\n"
        )


def test_made_up_texts_need_a_teacher(invoke, tmp_path: Path) -> None:
    result = invoke(main, "distill", tmp_path / "x.csv", "--augment", 1)
    assert result.exit_code == 2
    assert result.stderr == (
        "spam-train: error: --augment makes up texts for a teacher to label; type --teacher, too\n"
    )
