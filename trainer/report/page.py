"""``report.html``: a whole run on one page that loads nothing from elsewhere."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from batch.errors import InputError, OutputError
from batch.reading.fingerprint import hash_file
from trainer.data.sets import SPLITS, read_split
from trainer.report import figures, html
from trainer.report.agreement import draw_agreement
from trainer.report.html import escape, percent
from trainer.run_folder import (
    METRICS,
    PREDICTIONS,
    WEIGHTS,
    RunConfig,
    read_config,
    read_metrics,
)

REPORT = "report.html"
COLUMNS = ["set", "row", "label", "predicted", "score", "tokens"]
MOST_MISTAKES = 20
MOST_CLASSES = 12  # of a confusion matrix that is shown
LINES_OF_DATA = 5574  # of the complete SMS Spam Collection
HISTORY = {
    "loss": ("train_losses", "validation_losses"),
    "accuracy": ("train_accuracies", "validation_accuracies"),
}
SCORES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "false_positive_rate": "False positive rate",
    "auc": "AUC",
}


@dataclass(frozen=True)
class Run:
    """The parts of a run folder that the report is made from."""

    folder: Path
    config: RunConfig
    metrics: dict
    predictions: pd.DataFrame | None  # COLUMNS, and the messages as ``text``

    def of_set(self, name: str) -> pd.DataFrame | None:
        """The predictions for one set; None if there are none, or one has no score."""
        if self.predictions is None:
            return None
        rows = self.predictions[self.predictions["set"] == name]
        return None if rows.empty or rows["score"].isna().any() else rows


def write_report(run: Path) -> Path:
    """Write ``report.html`` into the run folder; returns its path.

    Where the run has no numbers for a figure, a sentence says so.

    Raises:
        MissingInputError: ``run`` is not a run folder, or its metrics or a set are missing.
        InputError: a file of the run cannot be read, or contradicts another one.
        OutputError: the report cannot be written.
    """
    config = read_config(run)
    text = render(Run(run, config, read_metrics(run), _read_predictions(run)))
    path = run / REPORT
    try:
        path.write_text(text, encoding="utf-8", errors="xmlcharrefreplace", newline="\n")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None
    return path


def _read_predictions(run: Path) -> pd.DataFrame | None:
    """``predictions.csv`` with each message's text; None if the run has no such file.

    ``score`` is the calibrated probability of the positive label or, if the run has none, of
    the predicted label.
    """
    path = run / PREDICTIONS
    if not path.exists():
        return None
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        if frame.columns.tolist() != COLUMNS:
            raise InputError(f"{path}: the header is not {','.join(COLUMNS)}")
        frame["score"] = pd.to_numeric(frame["score"].replace("", None))
        frame = frame.astype({"row": int, "tokens": int})
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if (outside := frame.index[(frame["score"] - 0.5).abs() > 0.5]).size:
        raise InputError(f"{path}: record {outside[0] + 1} has a score that is not in 0 to 1")
    frame["text"] = ""
    for name, rows in frame.groupby("set"):
        messages = _read_set(run, name, path)
        known = rows["row"].between(0, len(messages) - 1)
        labels = messages["label"].reindex(rows["row"]).to_numpy()
        wrong = rows.index[~known | (labels != rows["label"])]
        if len(wrong):
            raise InputError(f"{path}: record {wrong[0] + 1} does not fit {name}.csv")
        frame.loc[rows.index, "text"] = messages["text"].reindex(rows["row"]).to_numpy()
    return frame


def _read_set(run: Path, name: str, path: Path) -> pd.DataFrame:
    if name not in SPLITS:
        raise InputError(f"{path}: the set {name!r} is none of {', '.join(SPLITS)}")
    return read_split(run, name)


def render(run: Run) -> str:
    """The report as HTML."""
    title = f"Training report: {run.folder.resolve().name}"
    sections = {
        "Learning curves": _learning(run),
        "Confusion matrix": _confusion(run),
        "Precision and recall": _precision_recall(run),
        "Calibration": _calibration(run),
        "Message lengths": _lengths(run),
        "Scores": _scores(run),
        "The worst mistakes": _mistakes(run),
        "Settings": _settings(run),
        "Hashes and versions": _hashes(run),
    }
    if agreement := run.metrics.get("agreement"):
        drawn = draw_agreement(agreement, run.config.teacher or {})
        sections = {"Agreement with the teacher": drawn, **sections}
    return html.draw_page(title, _headline(run), sections)


def _headline(run: Run) -> str:
    data, messages = run.metrics["data"], run.metrics["messages"]
    labels = ", ".join(run.config.labels[:MOST_CLASSES])
    parts = [
        f'<p class="soft">{escape(data["name"])} · {sum(messages.values()):,} messages labelled '
        f"{escape(labels)}: "
        + ", ".join(f"{count:,} for {escape(name)}" for name, count in messages.items())
        + "</p>"
    ]
    if data["is_partial"]:
        parts.append(
            '<div class="banner" role="alert"><strong>Incomplete data.</strong> This run was '
            f"trained and tested on an incomplete copy of the {escape(data['name'])}: "
            f"{data['lines']:,} lines of {LINES_OF_DATA:,}. "
            "Its figures cannot be compared with those of the whole.</div>"
        )
    test = run.metrics.get("scores", {}).get("test")
    accuracy = test["accuracy"] if test else run.metrics["accuracy"]["test"]
    tiles = [html.tile("Test accuracy", accuracy, test, "accuracy", main=True)]
    if baseline := run.metrics.get("baseline"):
        theirs, name = baseline["test"], f"{baseline['name']}, the bar to clear"
        tiles.append(html.tile(name, theirs["accuracy"], theirs, "accuracy"))
    if test and (rate := test.get("false_positive_rate")) is not None:
        tiles.append(html.tile("False positive rate", rate, test, "false_positive_rate"))
    parts.append(f'<div class="tiles">{"".join(tiles)}</div>')
    parts.append(f"<p><strong>{escape(run.metrics['weights'])}</strong> {_verdict(run)}</p>")
    return "\n".join(parts)


def _verdict(run: Run) -> str:
    """One sentence on whether the test set can tell the model from the baseline."""
    baseline, scores = run.metrics.get("baseline"), run.metrics.get("scores", {})
    if not baseline:
        return "No baseline was recorded for this run."
    ours = scores.get("test", {}).get("intervals", {}).get("accuracy")
    theirs = baseline["test"].get("intervals", {}).get("accuracy")
    if not ours or not theirs:
        return ""
    if ours[0] > theirs[1]:
        return "Its interval lies above the baseline's."
    if ours[1] < theirs[0]:
        return "Its interval lies below the baseline's: it does not clear the bar."
    return (
        f"The two intervals overlap: these {scores['test']['messages']:,} test messages are too "
        "few to tell it from the baseline."
    )


def _learning(run: Run) -> str:
    history, drawn = run.metrics["history"], []
    for name, unit, at in (
        ("loss", "step", history["steps"]),
        ("accuracy", "epoch", [n + 1 for n in range(len(history["train_accuracies"]))]),
    ):
        train, validation = HISTORY[name]
        title = f"{name.capitalize()} over {unit}s, training and validation"
        plot = figures.plot_history(name, title, unit, at, history[train], history[validation])
        drawn.append(html.figure(plot, f"After each {unit} shown, on a few batches of each set."))
    whole = run.metrics["accuracy"].items()
    accuracies = ", ".join(f"{escape(name)} {percent(value)}" for name, value in whole)
    return f"{html.grid(drawn)}<p class='soft below'>At the end, on whole sets: {accuracies}.</p>"


def _confusion(run: Run) -> str:
    matrix = run.metrics.get("scores", {}).get("test", {}).get("confusion")
    if not matrix:
        return html.absent("a confusion matrix")
    if len(matrix) > MOST_CLASSES:
        return f"<p>Of {len(matrix):,} labels; {METRICS} has it.</p>"
    note = "The test set's messages; shares are of each row."
    return html.figure(html.draw_confusion(run.config.labels, np.array(matrix)), note)


def _precision_recall(run: Run) -> str:
    positive = run.config.positive_label
    if positive is None:
        return "<p>None of the labels is the positive one, so there is no such curve.</p>"
    sets = {name: run.of_set(name) for name in ("test", "validation")}
    curves = {}
    for name, rows in sets.items():
        if rows is not None and (rows["label"] == positive).any():
            real = (rows["label"] == positive).to_numpy()
            curves[name] = figures.precision_recall(real, rows["score"].to_numpy())
    test = sets["test"]
    if test is None or "test" not in curves:
        return html.absent("a score for each test message")
    threshold, marked = run.metrics.get("threshold"), None
    text = f"The positive label is {escape(positive)}. No threshold was recorded."
    if threshold:
        taken, real = test["score"] >= threshold["value"], test["label"] == positive
        hits, false = (taken & real).sum(), (taken & ~real).sum()
        marked = (hits / real.sum(), hits / taken.sum()) if hits else None
        text = (
            f"At the threshold {threshold['value']:.4g} the test set's {escape(positive)} has "
            f"precision {percent(marked[1]) if marked else '–'}, recall "
            f"{percent(hits / real.sum())} and false positive rate "
            f"{percent(false / max(1, (~real).sum()))}."
        )
        if threshold.get("budget") is not None:
            budget = percent(threshold["budget"])
            text += f" It was chosen on validation to take at most {budget} of the other messages."
    return f"<p>{text}</p>{html.figure(figures.plot_precision_recall(curves, marked))}"


def _calibration(run: Run) -> str:
    calibration, test = run.metrics.get("calibration"), run.of_set("test")
    text = html.absent("a calibration")
    if calibration:
        before, after = percent(calibration["ece_before"]), percent(calibration["ece_after"])
        text = (
            f"<p>Expected calibration error {before} before and {after} after dividing the logits "
            f"by the temperature {calibration['temperature']:.4g}, fitted on validation.</p>"
        )
    if test is None:
        return text
    positive = run.config.positive_label
    happened = test["label"] == (test["predicted"] if positive is None else positive)
    what = "the predicted label" if positive is None else escape(positive)
    note = f"Probability of {what}, test set. Above the diagonal it came true more often than said."
    plot = figures.plot_reliability(happened.to_numpy(), test["score"].to_numpy())
    return text + html.figure(plot, note)


def _lengths(run: Run) -> str:
    if run.predictions is None or run.predictions.empty:
        return html.absent("the messages' lengths")
    by_set = run.predictions.groupby("set")["tokens"]
    lengths = {name: by_set.get_group(name).to_numpy() for name in SPLITS if name in by_set.groups}
    cut = sum(run.metrics["truncated"].values())
    note = f"{cut:,} of {sum(run.metrics['messages'].values()):,} messages were cut to fit."
    return html.figure(figures.plot_lengths(lengths, run.config.max_length), note)


def _scores(run: Run) -> str:
    columns = {name.capitalize(): one for name, one in run.metrics.get("scores", {}).items()}
    if baseline := run.metrics.get("baseline"):
        columns[f"{baseline['name']}, test"] = baseline["test"]
    if not columns:
        return html.absent("scores beyond the accuracy")
    table = html.draw_scores(SCORES, columns)
    note = "In small print, 95 % Wilson intervals where they were recorded."
    return f'<div class="card scroll">{table}</div><p class="soft below">{note}</p>'


def _mistakes(run: Run) -> str:
    if run.predictions is None:
        return html.absent("what it predicted for each message")
    test = run.predictions[run.predictions["set"] == "test"]
    wrong = test[test["label"] != test["predicted"]]
    if wrong.empty:
        return f"<p>None of the {len(test):,} test messages was labelled wrong.</p>"
    positive = run.config.positive_label
    truth = (wrong["label"] == positive) if positive is not None else 0
    surest = (wrong["score"] - truth).abs().sort_values(ascending=False, kind="stable")
    worst = wrong.loc[surest.index[:MOST_MISTAKES]]
    items = [html.draw_mistake(row, positive) for row in worst.itertuples()]
    return (
        f"<p>{len(wrong):,} of {len(test):,} test messages were labelled wrong; here are "
        f"{'all' if len(items) == len(wrong) else f'the {len(items)} surest'}, the surest first. "
        "These are messages of your own labelled data: mind to whom you show this page.</p>"
        f"<ol class='mistakes'>{''.join(items)}</ol>"
    )


def _settings(run: Run) -> str:
    config, history = run.config, run.metrics["history"]
    run_rows = {
        "labels": ", ".join(config.labels[:MOST_CLASSES]),
        "positive label": config.positive_label,
        "max_length": f"{config.max_length} tokens",
        "device": config.device,
        "training time": f"{history['seconds']:,.1f} s",
        "examples seen": f"{history['examples_seen']:,}",
        "data": config.data["name"],
        "data from": config.data["origin"],
        **_count_records(config.data),
        "weights from": config.weights["origin"],
    }
    groups = {"Recipe": config.recipe, "Run": run_rows, "Model": config.model}
    tables = [
        f"<div><h3>{name}</h3>{html.draw_facts(values)}</div>" for name, values in groups.items()
    ]
    return f'<div class="columns">{"".join(tables)}</div>'


def _count_records(data: dict) -> dict[str, str]:
    """What came in and what is left of it: records = rejected + dropped + messages."""
    if "records" not in data:  # a run of a version before 0.2.0
        return {"messages": f"{data['rows']:,}"}
    dropped = [f"{number:,} ({reason})" for reason, number in data["dropped"].items()]
    labels = sorted(data["labels"].items(), key=lambda item: -item[1])[:MOST_CLASSES]
    rows = {
        "records": f"{data['records']:,}",
        "rejected": f"{data['rejected']:,}",
        "dropped": ", ".join(dropped) or "0",
        "messages": f"{data['kept']:,}: "
        + ", ".join(f"{number:,} {label}" for label, number in labels),
    }
    if data["glued_lines"]:
        rows["glued lines"] = f"{data['glued_lines']:,}, as the notebook reads"
    return rows


def _hashes(run: Run) -> str:
    config, weights = run.config, run.folder / WEIGHTS
    hashes = {"data": config.data["sha256"], "tokenizer": config.tokenizer_sha256}
    hashes |= {f"from {name}": value for name, value in config.weights["sha256"].items()}
    if weights.is_file():
        hashes[WEIGHTS] = hash_file(weights)
    return (
        f"<h3>SHA-256</h3>{html.draw_facts(hashes, 'settings hashes')}"
        f'<div class="columns"><div><h3>Versions</h3>{html.draw_facts(config.versions)}</div></div>'
    )
