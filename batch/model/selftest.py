"""Before a bundle labels anything: was it verified, and does it still say the same here?"""

from collections.abc import Callable

import numpy as np

from batch.errors import BundleError
from batch.model.bundle import Bundle
from batch.model.bundle_files import EXTERNAL_SUFFIX, GOLDEN, VERIFY
from batch.model.tokenizer import TokenBatch, Tokenizer

# What the logits of golden.json may move by, which catches a wrong tokenizer, pooling or
# weight and lets another CPU's or GPU's rounding pass. Where activations are rounded to
# integers or 16 bits a last bit can become a step, so theirs is a share of the largest logit.
GOLDEN_TOLERANCE = 1e-3
REDUCED_TOLERANCE = 0.02
CLEARLY_FASTER = 1.1  # than fp32, whose labels are PyTorch's
SHORT_GOLDEN = 32  # tokens; of the longer golden messages, whose ids are compared, one is run


def choose_precision(bundle: Bundle, device: str) -> str:
    """The variant that was fastest where the bundle was verified on ``cpu`` or ``cuda``.

    fp32 if there is no speed to go by, or no other is clearly faster: a tie must not decide.
    """
    if VERIFY not in bundle.manifest.files:
        return "fp32"
    verified = bundle.read_json(VERIFY).get("variants", {})
    speeds = {
        precision: entry["rows_per_second"]
        for precision, entry in verified.items()
        if entry.get("passed") is True
        and entry.get("device") == device
        and precision in bundle.manifest.variants
    }
    fastest = max(speeds, key=speeds.__getitem__, default="fp32")
    is_clear = speeds.get(fastest, 0) >= CLEARLY_FASTER * speeds.get("fp32", 0)
    return fastest if is_clear else "fp32"


def measured_batch_tokens(bundle: Bundle, precision: str, device: str) -> int | None:
    """The tokens of a batch that were fastest when the bundle was verified on such a device."""
    if VERIFY not in bundle.manifest.files:
        return None
    entry = bundle.read_json(VERIFY).get("variants", {}).get(precision, {})
    tokens = entry.get("batch_tokens") if entry.get("device") == device else None
    return tokens if isinstance(tokens, int) and tokens > 0 else None


def check_verified(bundle: Bundle, precision: str) -> None:
    """Refuse a variant that never passed its verification.

    Raises:
        BundleError: it did not, or another file did.
    """
    hint = "run spam-export verify, or give --allow-unverified (allow_unverified=True)"
    name = bundle.manifest.variants[precision]
    if VERIFY not in bundle.manifest.files:
        raise BundleError(f"{bundle.folder}: was never verified; {hint}")
    verified = bundle.read_json(VERIFY).get("variants", {}).get(precision, {})
    if verified.get("passed") is not True:
        raise BundleError(f"{bundle.folder}: {precision} was not verified; {hint}")
    for key, file in (("sha256", name), ("external_sha256", name + EXTERNAL_SUFFIX)):
        entry = bundle.manifest.files.get(file)
        if verified.get(key) != (entry.sha256 if entry else None):
            raise BundleError(f"{bundle.folder}: {VERIFY} is of another {file}; {hint}")


def replay_golden(
    bundle: Bundle,
    precision: str,
    tokenizer: Tokenizer,
    run: Callable[[TokenBatch], np.ndarray],
) -> None:
    """Compare labels, ids and logits with those at export: PyTorch's for fp32, else its own.

    Args:
        run: token ids of N messages -> their logits ``(N, K)``.

    Raises:
        BundleError: they differ, with the message's number.
    """
    values = bundle.read_json(GOLDEN)
    golden, labels = values.get("messages"), values.get("labels")
    if not golden:
        raise BundleError(f"{bundle.folder}: {GOLDEN} has no messages to check with")
    if labels is None:
        raise BundleError(f"{bundle.folder}: {GOLDEN} has no labels to check with")
    if labels != bundle.manifest.labels:
        raise BundleError(
            f"{bundle.folder}: the labels are {bundle.manifest.labels}, but {labels} were exported"
        )
    limit = bundle.manifest.max_length
    tokens = tokenizer.encode_batch([message["text"] for message in golden], limit)
    for number, message in enumerate(golden):
        if tokens.row(number).tolist() != message["ids"]:
            raise BundleError(
                f"{bundle.folder}: golden message {number} gets other token ids here "
                "than at export; the tokenizer is not the model's"
            )
    expected = np.array([message["logits"] for message in golden])
    whose, tolerance = "PyTorch's", GOLDEN_TOLERANCE
    if precision != "fp32":
        expected = np.array(values.get("variants", {}).get(precision, []))
        whose = f"those of {precision} at export"
        tolerance = REDUCED_TOLERANCE * max(1.0, float(np.abs(expected).max(initial=0.0)))
    if expected.shape[:1] == (len(golden),):
        short = np.flatnonzero(tokens.lengths <= SHORT_GOLDEN)
        replayed = np.union1d(short, tokens.lengths.argmax())  # one of the long ones is enough
        tokens, expected = tokens.take(replayed), expected[replayed]
    else:
        replayed = np.arange(len(golden))
    logits = run(tokens)
    if expected.shape != logits.shape:
        raise BundleError(
            f"{bundle.folder}: {GOLDEN} has logits of shape {expected.shape}, "
            f"the model gives {logits.shape}"
        )
    difference = np.abs(logits - expected).max(axis=1)
    worst = int(difference.argmax())
    if not difference[worst] <= tolerance:
        raise BundleError(
            f"{bundle.folder}: golden message {replayed[worst]} gets logits that differ from "
            f"{whose} by {difference[worst]:.2g}, more than {tolerance:.2g}"
        )
