"""``spam-train distill``: a small model learns a bundle's labels from files that it labelled."""

import hashlib
import logging
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from batch.errors import InputError, UsageError
from batch.formats.columns import CLASS_COLUMN
from batch.messages import count, show
from batch.model.bundle import Bundle, open_bundle
from batch.model.rules import BUNDLES_RULES
from batch.model.tokenizer import Tokenizer
from batch.run.inputs import find_inputs
from batch.writing.names import manifest_path
from trainer.data.labels import find_positive_label
from trainer.data.made_up import make_up
from trainer.data.reading import LabelledData, read_messages
from trainer.data.splits import HELD_OUT, make_split
from trainer.data.teacher import (
    Teacher,
    TeacherFile,
    make_teacher,
    open_labelled,
    read_labelled_texts,
)
from trainer.data.tensors import FLOOR, GOLD, longest
from trainer.evaluation.agreement import agreement_lines
from trainer.fetch.assets import DataFile, fetch_bpe, fetch_files
from trainer.model.build import select_device
from trainer.model.initial_weights import resolve_weights
from trainer.recipe import DISTILLED, Recipe, fit_vocabulary, get_recipe
from trainer.run_folder import check_folder
from trainer.run_steps import RunInputs, RunOptions, carry_out
from trainer.teacher_run import (
    MADE_UP,
    check_work_folder,
    label_plain,
    label_texts,
    work_folder,
)

log = logging.getLogger("trainer")

VALIDATION, TEST = 5_000, 10_000  # texts of the two held-out sets, at most
MIN_CLASS = 10  # texts of a class, at least
MAX_LENGTH = 256  # tokens; a text that has more is cut


@dataclass(frozen=True)
class DistillOptions:
    """The options of ``spam-train distill``; those of any run are in ``run``."""

    files: tuple[str, ...]  # labelled ones; with a teacher also plain ones; or folders
    run: RunOptions  # its ``data`` are files with gold labels
    teacher: str | None = None  # a bundle; None: the one that labelled the files
    augment: float = 0.0  # made-up texts for each training text; they need a ``teacher``


def distill(options: DistillOptions) -> dict:
    """Train a student on its teacher's labels and write its run folder; returns the metrics.

    Raises:
        SpamBatchError: with one sentence on what is wrong.
    """
    if options.augment and options.teacher is None:
        raise UsageError("--augment makes up texts for a teacher to label; type --teacher, too")
    check_folder(options.run.out)  # before a teacher works for it
    if options.teacher is not None:
        check_work_folder(work_folder(options.run.out))
    if options.augment:
        check_work_folder(work_folder(options.run.out, MADE_UP))
    bundle = None if options.teacher is None else open_bundle(options.teacher)
    labelled = _find_labelled(options, bundle)
    opened = open_labelled(labelled, bundle.digest if bundle else None)
    if options.augment and bundle:
        _check_rules(opened[0], bundle)
    inputs = _prepare(options, opened, bundle)
    if options.augment and bundle:
        inputs = add_made_up(inputs, options, bundle)
    recipe = fit_vocabulary(inputs.recipe, len(inputs.parts["train"]))
    inputs = replace(inputs, recipe=recipe)
    band = inputs.teacher.decision.unsure_band if inputs.teacher else None
    return carry_out(replace(options.run, unsure_band=band), inputs)


def _find_labelled(options: DistillOptions, bundle: Bundle | None) -> list[Path]:
    """The labelled files; with a teacher, plain ones are labelled first."""
    files = [Path(name) for name in find_inputs(options.files)]
    if bundle is None:
        return files
    plain = [file for file in files if not manifest_path(file.resolve()).exists()]
    done = dict(zip(plain, label_plain(plain, bundle, options.run), strict=True))
    return [done.get(file, file) for file in files]


def _prepare(
    options: DistillOptions, files: Sequence[TeacherFile], bundle: Bundle | None
) -> RunInputs:
    """Read and split the texts, resolve the weights, and check the options against them."""
    run = options.run
    teacher = make_teacher(files[0], _find_positive(run, files[0].classes, bundle))
    frame, records = read_labelled_texts(files, teacher)
    log.info(
        "%s, %s, %s; teacher: %s (%s)",
        count(len(files), "labelled file"), count(records, "record"),
        count(len(frame), "different text"), teacher.bundle["name"], teacher.bundle["weights"],
    )  # fmt: skip
    gold, gold_files = _read_gold(run)
    if gold is not None:
        frame = add_gold(frame, gold.frame, teacher.decision.labels)
    data = _describe(files, gold_files, gold, frame, records, teacher)
    _check_classes(frame, teacher, run.reading.labels.min_class)
    bpe_file = fetch_bpe(run.cache, run.bpe)
    given = Path(run.weights) if os.path.exists(run.weights) else None
    check_folder(run.out, *(file.path for file in files), *run.data, bpe_file.path, given)
    weights = resolve_weights(run.weights, run.size, run.cache)
    weights = replace(weights, statement=f"{weights.statement} {teacher.sentence()}")
    recipe, parts = _split(frame, weights.starts, run, bpe_file.path)
    device = select_device(run.device)
    log.info("Device: %s. Weights: %s", device, weights.statement)
    return RunInputs(
        bpe_file, gold.rejects if gold else [], data, teacher.decision.labels,
        teacher.decision.positive_label, parts, weights, recipe, device, teacher,
        {"labelled": [str(file.path.resolve()) for file in files]},
    )  # fmt: skip


def _find_positive(run: RunOptions, classes: list[str], bundle: Bundle | None) -> str | None:
    """The class that the teacher's scores are of; a run manifest does not say."""
    if bundle is not None:
        return bundle.manifest.positive_label
    return find_positive_label(run.positive_label, classes)


def _read_gold(run: RunOptions) -> tuple[LabelledData | None, list[DataFile]]:
    """The messages of ``--data``, if there are any."""
    if not run.data:
        return None, []
    files = fetch_files(run.cache, run.data)
    found = read_messages(files, run.reading, get_recipe("default", split="grouped"))
    log.info("%s", found.sentence())
    return found, files


def add_gold(frame: pd.DataFrame, gold: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    """The frame with a column ``gold``: the label of the text in ``gold``, or an empty string.

    Texts that the teacher did not label come after the others, with their gold label and
    without probabilities.

    Raises:
        InputError: a gold label is none of the teacher's classes.
    """
    unknown = gold["label"][~gold["label"].isin(labels)]
    if len(unknown):
        known = [label for label in labels if (gold["label"] == label).any()]
        advice = f"; to leave others out, type --labels {shlex.quote(','.join(known))}"
        raise InputError(
            f"--data: {count(len(unknown), 'message')} labelled {show(unknown.iloc[0])}, which "
            f"the teacher does not know; it knows {', '.join(map(show, labels))}"
            f"{advice if len(known) > 1 else ''}"
        )
    by_text = dict(zip(gold["text"], gold["label"], strict=True))
    frame = frame.assign(**{GOLD: frame["text"].map(by_text).fillna("")})
    seen = set(frame["text"])
    others = [(label, text, label) for text, label in by_text.items() if text not in seen]
    added = pd.DataFrame(others, columns=["label", "text", GOLD], dtype=object)
    return pd.concat([frame, added], ignore_index=True) if others else frame


def _check_rules(file: TeacherFile, bundle: Bundle) -> None:
    """Refuse files that were labelled by other rules than made-up texts will be.

    Raises:
        InputError: the first rule that differs, and how to do without it.
    """
    for rule, ours in BUNDLES_RULES.settings(bundle.manifest).items():
        if (theirs := file.manifest.options.get(rule)) != ours:
            raise InputError(
                f"{file.path}: was labelled with {rule} {theirs}, and --augment labels with {rule} "
                f"{ours}; leave --augment out, or label the file again without {rule}"
            )


def add_made_up(inputs: RunInputs, options: DistillOptions, bundle: Bundle) -> RunInputs:
    """The inputs with made-up texts, labelled by the teacher, in the training set.

    Raises:
        SpamBatchError: as :func:`~trainer.teacher_run.label_texts`.
    """
    train, teacher = inputs.parts["train"], inputs.teacher
    assert teacher is not None  # as distill says
    columns = [CLASS_COLUMN + label for label in teacher.decision.labels]
    said = train.dropna(subset=columns)  # texts that have a gold label alone are nobody's
    logits = np.log(said[columns].to_numpy(dtype=np.float64).clip(min=FLOOR))
    wanted = round(options.augment * len(said))
    if not wanted:
        raise UsageError(
            f"--augment {options.augment:g} makes up no text for {count(len(said), 'text')}; "
            "give a larger number, or leave it out"
        )
    log.info("Making up %s, which the teacher labels then.", count(wanted, "text"))
    held_out = [text for name in HELD_OUT for text in inputs.parts[name]["text"]]
    margins = teacher.decision.margins(logits)
    texts = make_up(list(said["text"]), margins, wanted, inputs.recipe.seed, held_out)
    file = label_texts(texts, bundle, options.run)
    opened = open_labelled([file], bundle.digest)
    frame, _ = read_labelled_texts(opened, teacher)
    log.info("%s made up for the training set", count(len(frame), "text"))
    if GOLD in train:
        frame = frame.assign(**{GOLD: ""})
    train = pd.concat([train, frame[list(train.columns)]], ignore_index=True)
    manifest, data = opened[0].manifest, inputs.data
    hashes = [manifest.output.sha256, manifest.input.sha256]
    data = {
        **data,
        "sha256": hashlib.sha256("".join([data["sha256"], *hashes]).encode()).hexdigest(),
        "files": [*data["files"], *hashes],
        "made_up": len(frame),
    }
    return replace(inputs, parts={**inputs.parts, "train": train}, data=data)


def _describe(
    files: Sequence[TeacherFile],
    gold_files: Sequence[DataFile],
    gold: LabelledData | None,
    frame: pd.DataFrame,
    records: int,
    teacher: Teacher,
) -> dict:
    """What ``config.json`` says of the data, with the keys of a run of ``fit``."""
    hashes = [file.manifest.output.sha256 for file in files]
    hashes += [file.sha256 for file in gold_files]
    names = [file.path.name for file in files] + [file.name for file in gold_files]
    rejects, dropped = (gold.rejects, gold.dropped) if gold else ([], {})
    records += gold.records if gold else 0
    repeated = records - len(rejects) - sum(dropped.values()) - len(frame)
    data = LabelledData(frame, records, rejects, {**dropped, "repeated texts": repeated})
    return {
        "name": ", ".join(names),
        "origin": f"labelled by {teacher.bundle['name']} (digest {teacher.bundle['digest']})",
        "sha256": hashlib.sha256("".join(hashes).encode()).hexdigest(),
        # The unlabelled inputs, too: no cascade may be proved on text that the student has seen.
        "files": [*hashes, *(file.manifest.input.sha256 for file in files)],
        "lines": records,
        "is_partial": False,
        "rows": len(frame),
        "made_up": 0,  # texts of the training set, besides the rows; see add_made_up
        **data.counts(),
    }


def _check_classes(frame: pd.DataFrame, teacher: Teacher, wanted: int | None) -> None:
    """Refuse texts of which too few are of some class.

    Raises:
        InputError: the rarest class, and how many texts it has.
    """
    floor = MIN_CLASS if wanted is None else wanted
    counts = frame["label"].value_counts()
    rarest = min(teacher.decision.labels, key=lambda label: counts.get(label, 0))
    if (found := int(counts.get(rarest, 0))) < floor:
        raise InputError(
            f"{count(found, 'text')} labelled {show(rarest)} by the teacher, fewer than the "
            f"{floor} that a student needs of each class; give texts that have more of it"
            + (f", or type --min-class {found}" if found else "")
        )


def _split(
    frame: pd.DataFrame, starts: dict[str, bool], run: RunOptions, bpe: Path
) -> tuple[Recipe, dict[str, pd.DataFrame]]:
    """The recipe of the run, and the three sets as text.

    The held-out sets have 10 and 20 % of the texts, and at most VALIDATION and TEST of them. A
    text is read up to the longest of the training set, or to MAX_LENGTH.
    """
    validation, test = min(0.1, VALIDATION / len(frame)), min(0.2, TEST / len(frame))
    fractions = {"validation_fraction": validation, "train_fraction": 1 - validation - test}
    changes = {name: value for name, value in (run.changes or {}).items() if value is not None}
    recipe = replace(get_recipe("default", **starts), **{**DISTILLED, **fractions, **changes})
    parts = make_split(frame, recipe)
    if recipe.max_length is None:
        encoded = Tokenizer.load(bpe).encode_all(parts["train"]["text"], MAX_LENGTH)
        recipe = replace(recipe, max_length=longest(encoded))
    return recipe, parts


def student_lines(metrics: dict) -> list[str]:
    """The result of a run in a few lines: agreement first, then those of any run."""
    lines = agreement_lines(metrics["agreement"], metrics["baseline"]["test"])
    calibration, data = metrics["calibration"], metrics["data"]
    lines.append(
        f"temperature {calibration['temperature']:.3f}, fitted to the teacher's probabilities; "
        f"threshold {metrics['threshold']['value']:g}, the teacher's"
    )
    lines.append(f"weights: {metrics['weights']}")
    made_up = f" and {data['made_up']:,} made-up ones" if data["made_up"] else ""
    lines.append(
        f"data: {data['name']}, {data['rows']:,} different texts{made_up} ({data['origin']})"
    )
    return lines
