"""Checks before a bundle labels anything: it was verified, and its logits are the same here."""

from collections.abc import Callable

import numpy as np

from batch.errors import BundleError
from batch.model.bundle import Bundle
from batch.model.bundle_files import EXTERNAL_SUFFIX, GOLDEN, VERIFY
from batch.model.cascade.folder import CascadeBundle
from batch.model.cascade.proof import BETWEEN
from batch.model.tokenizer import TokenBatch, Tokenizer

# The logits of golden.json may differ by this. It catches a wrong tokenizer, pooling or weight,
# and allows for the rounding of another CPU or GPU. In a reduced precision activations are
# rounded to integers or 16 bits, so a last bit can become a whole step; there the tolerance is
# a share of the largest logit.
GOLDEN_TOLERANCE = 1e-3
REDUCED_TOLERANCE = 0.02
CLEARLY_FASTER = 1.1  # times the speed of fp32, whose labels are PyTorch's
SHORT_GOLDEN = 32  # tokens; of longer golden messages the model runs one, to save time


def read_verified(bundle: Bundle) -> dict[str, dict]:
    """What the verification found for each precision; empty if the bundle was never verified.

    Raises:
        BundleError: ``verify.json`` is not what spam-export writes.
    """
    if VERIFY not in bundle.manifest.files:
        return {}
    found = bundle.read_json(VERIFY).get("variants", {})
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        raise BundleError(_not_ours(bundle, VERIFY))
    return found


def _not_ours(bundle: Bundle, name: str) -> str:
    return (
        f"{bundle.folder}: {name} does not have the form that spam-export writes; export it again "
        "with: spam-export bundle"
    )


def choose_precision(bundle: Bundle, device: str) -> str:
    """The variant that was fastest when the bundle was verified on ``cpu`` or ``cuda``.

    fp32 if no speed was measured or no other variant is clearly faster, so that noise in the
    measurement does not decide. A cascade has one pair of precisions, for which it was proved.
    """
    if bundle.proof:
        return bundle.proof.precision
    speeds = {
        precision: entry["rows_per_second"]
        for precision, entry in read_verified(bundle).items()
        if entry.get("passed") is True
        and entry.get("device") == device
        and precision in bundle.manifest.variants
        and isinstance(entry.get("rows_per_second"), int | float)
    }
    fastest = max(speeds, key=speeds.__getitem__, default="fp32")
    is_clear = speeds.get(fastest, 0) >= CLEARLY_FASTER * speeds.get("fp32", 0)
    return fastest if is_clear else "fp32"


def measured_batch_tokens(bundle: Bundle, precision: str, device: str) -> int | None:
    """The fastest number of tokens in a batch, as measured when the bundle was verified.

    None if it was not measured on this kind of device.
    """
    entry = read_verified(bundle).get(precision, {})
    tokens = entry.get("batch_tokens") if entry.get("device") == device else None
    return tokens if isinstance(tokens, int) and tokens > 0 else None


def check_verified(bundle: Bundle, precision: str) -> None:
    """Refuse a variant that has not passed its verification.

    Raises:
        BundleError: it has not, or another file has.
    """
    if isinstance(bundle, CascadeBundle):
        for stage, part in zip(bundle.stages.values(), precision.split(BETWEEN), strict=True):
            check_verified(stage, part)
        return
    hint = "run spam-export verify, or give --allow-unverified (allow_unverified=True)"
    name = bundle.manifest.variants[precision]
    if VERIFY not in bundle.manifest.files:
        raise BundleError(f"{bundle.folder}: was never verified; {hint}")
    verified = read_verified(bundle).get(precision, {})
    if verified.get("passed") is not True:
        raise BundleError(f"{bundle.folder}: {precision} was not verified; {hint}")
    for key, file in (("sha256", name), ("external_sha256", name + EXTERNAL_SUFFIX)):
        entry = bundle.manifest.files.get(file)
        if verified.get(key) != (entry.sha256 if entry else None):
            raise BundleError(f"{bundle.folder}: {VERIFY} belongs to another {file}; {hint}")


def replay_golden(
    bundle: Bundle,
    precision: str,
    tokenizer: Tokenizer,
    run: Callable[[TokenBatch], np.ndarray],
) -> None:
    """Compare labels, token ids and logits with those at export.

    Args:
        run: token ids of N messages -> their logits ``(N, K)``.

    Raises:
        BundleError: they differ. The text has the number of the message.
    """
    values = bundle.read_json(GOLDEN)
    try:
        tokens = _encode_golden(bundle, values, tokenizer)
        expected, whose, tolerance = _expected_logits(values, precision)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BundleError(_not_ours(bundle, GOLDEN)) from None
    replayed = np.arange(len(tokens))
    if expected.shape[:1] == (len(tokens),):
        short = np.flatnonzero(tokens.lengths <= SHORT_GOLDEN)
        replayed = np.union1d(short, tokens.lengths.argmax())  # one long message is enough
        expected = expected[replayed]
    logits = run(tokens.take(replayed))
    if expected.shape != logits.shape:
        raise BundleError(
            f"{bundle.folder}: {GOLDEN} has logits of shape {expected.shape}, "
            f"the model gives {logits.shape}"
        )
    difference = np.abs(logits - expected).max(axis=1)
    worst = int(difference.argmax())
    if not difference[worst] <= tolerance:  # a difference that is nan fails, too
        raise BundleError(
            f"{bundle.folder}: golden message {replayed[worst]} gets logits that differ from "
            f"{whose} by {difference[worst]:.2g}, more than {tolerance:.2g}"
        )


def _encode_golden(bundle: Bundle, values: dict, tokenizer: Tokenizer) -> TokenBatch:
    """The token ids of the golden messages, after a check of labels and ids."""
    messages, labels = values.get("messages"), values.get("labels")
    if not messages:
        raise BundleError(f"{bundle.folder}: {GOLDEN} has no messages to check with")
    if labels is None:
        raise BundleError(f"{bundle.folder}: {GOLDEN} has no labels to check with")
    if labels != bundle.manifest.labels:
        raise BundleError(
            f"{bundle.folder}: the labels are {bundle.manifest.labels}, but {labels} were exported"
        )
    texts = [message["text"] for message in messages]
    tokens = tokenizer.encode_batch(texts, bundle.manifest.max_length)
    for number, message in enumerate(messages):
        if tokens.row(number).tolist() != message["ids"]:
            raise BundleError(
                f"{bundle.folder}: golden message {number} gets other token ids here "
                "than at export; the tokenizer is not the model's"
            )
    return tokens


def _expected_logits(values: dict, precision: str) -> tuple[np.ndarray, str, float]:
    """Logits ``(N, K)`` at export, whose they are, and the tolerance.

    fp32 is compared with PyTorch, another precision with its own logits at export.
    """
    if precision == "fp32":
        logits = np.array([message["logits"] for message in values["messages"]])
        return logits, "PyTorch's", GOLDEN_TOLERANCE
    logits = np.array(values.get("variants", {}).get(precision, []))
    largest = max(1.0, float(np.abs(logits).max(initial=0.0)))
    return logits, f"those of {precision} at export", REDUCED_TOLERANCE * largest
