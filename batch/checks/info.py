"""Describe a bundle, in lines for a person or as one object for a program."""

import json
import math
from dataclasses import asdict

from batch.errors import BundleError
from batch.model.bundle import Bundle
from batch.model.bundle_files import MANIFEST, VERIFY
from batch.model.cascade.folder import KIND, CascadeBundle
from batch.model.cascade.proof import TYPICAL, Proof
from batch.model.decision import SLOW, STAGES, UNSURE
from batch.model.selftest import check_verified

POOLINGS = {
    "last_token": "the last real token",
    "last_position": "the last of exactly max_length positions",
    "first_position": "the first position",
    "mean": "the mean of all positions",
}


def collect(bundle: Bundle) -> dict:
    """Everything that ``spam-batch info --json`` prints, after a check of every file.

    Raises:
        BundleError: a file differs from the manifest.
    """
    for name in bundle.manifest.files:
        bundle.check(name)
    if isinstance(bundle, CascadeBundle):
        assert bundle.proof is not None  # as open_cascade says
        stages = {name: collect(stage) for name, stage in bundle.stages.items()}
        return {
            "folder": str(bundle.folder),
            "digest": bundle.digest,
            "kind": KIND,
            "labels": bundle.manifest.labels,
            "proof": asdict(bundle.proof),
            **stages,
            "warnings": [each for stage in stages.values() for each in stage["warnings"]],
        }
    verification = bundle.read_json(VERIFY) if VERIFY in bundle.manifest.files else {}
    return {
        "folder": str(bundle.folder),
        "digest": bundle.digest,
        **asdict(bundle.manifest),
        "verification": verification,
        "warnings": _find_warnings(bundle),
    }


def _find_warnings(bundle: Bundle) -> list[str]:
    found = []
    for precision in bundle.manifest.variants:
        try:
            check_verified(bundle, precision)
        except BundleError as error:
            found.append(str(error))
    data = bundle.manifest.training.get("data", {})
    if data.get("is_partial"):
        found.append(
            f"trained on an incomplete copy of its data ({data.get('name')}: "
            f"{data.get('lines', 0):,} lines)"
        )
    return list(dict.fromkeys(found))


def to_lines(values: dict) -> list[str]:
    """What :func:`collect` found, in lines for a person.

    Raises:
        BundleError: the part on training or verification does not have the form that we write.
    """
    try:
        return _to_lines(values)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise BundleError(
            f"{values['folder']}: {MANIFEST} or {VERIFY} does not have the form that "
            "spam-export writes; to see it, type: spam-batch info --json"
        ) from None


def _to_lines(values: dict) -> list[str]:
    if values.get("kind") == KIND:
        return _cascade_lines(values)
    facts = {
        "digest": values["digest"],
        "model": f"{values['model']}; reads {POOLINGS.get(values['pooling'], values['pooling'])}, "
        f"max_length {values['max_length']} tokens",
        "weights": values["weights"],
        "labels": ", ".join(values["labels"]),
        "positive label": _describe_positive(values),
        **_describe_band(values["unsure_band"]),
        "temperature": f"{values['temperature']:.4g}",
        **_describe_training(values),
    }
    lines = [values["folder"], *_aligned(facts), "precisions"]
    verified = values["verification"].get("variants", {})
    for precision, name in values["variants"].items():
        size = values["files"][name]["size"]
        first, *others = _describe_check(verified.get(precision, {}))
        lines += _aligned({precision: f"{name}, {size / 1e6:,.1f} MB: {first}"})
        lines += [f"{'':19}{other}" for other in others]
    lines += _aligned(_describe_machine(values["verification"].get("machine", {})))
    lines.append("files, with the SHA-256 that was checked")
    for name, entry in values["files"].items():
        lines += _aligned({name: f"{entry['sha256']}  {entry['size']:>13,} bytes"})
    return lines + [f"WARNING: {warning}" for warning in values["warnings"]]


def _cascade_lines(values: dict) -> list[str]:
    """The proof, and each of the two bundles."""
    proof = Proof.from_json(values["proof"])
    low, high = (describe_leaning(end, proof, values[SLOW]) for end in proof.band)
    proving, text = proof.proving, proof.text
    asks = f"for {low} to below {high}, as the fast model gives it"
    if proof.length_power:
        asks += f" to a message of {TYPICAL} tokens; a longer one has to be less sure"
    facts = {
        "digest": values["digest"],
        "kind": "cascade: the fast model labels what it is sure of, the slow one the rest",
        "asks": "for none" if proof.band[0] == proof.band[1] else asks,
        "precision": f"{proof.precision} (fast, then slow)",
        "bound": proof.promise(),
        "measured": f"{proving['differ']:,} of {proving['messages']:,} messages differ; "
        f"the slow model was asked for {100 * proof.share_asked:.2f} % of all rows",
        "text": f"{text['rows']:,} rows, {text['distinct']:,} distinct texts; SHA-256 of their "
        f"hashes {text['sha256']}",
        "rules": ", ".join(f"{name} {value}" for name, value in proof.settings.items()),
    }
    lines = [values["folder"], *_aligned(facts)]
    for name in STAGES:
        lines += [f"{name}: {line}" for line in _to_lines({**values[name], "warnings": []})]
    return lines + [f"WARNING: {warning}" for warning in values["warnings"]]


def describe_leaning(leaning: float, proof: Proof, slow: dict) -> str:
    """An end of the band as a score, or as the quotient of the two best probabilities."""
    scaled = min(max(leaning / proof.temperature, -700.0), 700.0)
    if len(slow["labels"]) == 2 and slow["positive_label"] is not None:
        return f"score {1 / (1 + math.exp(-scaled)):.6g}"
    return f"best probability {math.exp(scaled):.6g} times the second"


def to_json(values: dict) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False)


def _aligned(facts: dict[str, str]) -> list[str]:
    return [f"  {name:<16} {value}" for name, value in facts.items()]


def _describe_positive(values: dict) -> str:
    if values["positive_label"] is None:
        return "none; the score is the probability of the label given"
    if len(values["labels"]) > 2:
        return f"{values['positive_label']}; the most probable label is given"
    return f"{values['positive_label']}, from a probability of {values['threshold']:.4g} on"


def _describe_band(band: list[float] | None) -> dict[str, str]:
    if band is None:
        return {}
    return {"unsure band": f"scores from {band[0]} to below {band[1]} get the label {UNSURE}"}


def _describe_training(values: dict) -> dict[str, str]:
    training, made_by = values["training"], values["made_by"]
    facts, messages = {}, training.get("messages", {})
    if accuracy := training.get("accuracy"):
        facts["accuracy"] = ", ".join(
            f"{name} {100 * value:.2f} % of {messages.get(name, 0):,}"
            for name, value in accuracy.items()
        )
    if data := training.get("data"):
        facts["data"] = f"{data.get('name')}, {data.get('rows', 0):,} rows; {data.get('origin')}"
        facts["data SHA-256"] = str(data.get("sha256"))
    if recipe := made_by.get("recipe"):
        facts["recipe"] = recipe
    if versions := made_by.get("versions"):
        facts["made by"] = _list_versions(versions)
    return facts


def _describe_check(entry: dict) -> list[str]:
    """The verification of one variant. An older bundle has less of it."""
    if entry.get("passed") is not True:
        return ["NOT VERIFIED"]
    check = entry.get("check")
    if not check:
        return ["verified"]
    lines = [
        f"verified on {check['device']} over {check['rows']:,} messages",
        f"logits differ from PyTorch's by {check['logit']['value']:.2g} at most "
        f"(allowed {check['tolerance']:.4g}), {len(check['labels_differ'])} labels differ",
        f"logits differ by {check['batch_variance']['value']:.2g} at most between batches",
    ]
    if gate := entry.get("gate"):
        ours, theirs = 100 * gate["accuracy_ours"], 100 * gate["accuracy_theirs"]
        lines.append(f"validation accuracy {ours:.2f} % (PyTorch {theirs:.2f} %)")
    if kept := entry.get("kept_fp32"):
        lines.append(f"layers kept in fp32: {', '.join(kept)}")
    return [*lines, f"{entry['rows_per_second']:,.0f} rows a second"]


def _describe_machine(machine: dict) -> dict[str, str]:
    if not machine:
        return {}
    flags = " ".join(machine.get("flags", []))
    processor = f"{machine.get('cpu')}{flags and f' ({flags})'}"
    return {"verified on": f"{processor}; {_list_versions(machine.get('versions', {}))}"}


def _list_versions(versions: dict) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
