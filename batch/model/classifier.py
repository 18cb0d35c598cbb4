"""A loaded bundle: texts in, labels and probabilities out."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from batch.errors import BundleError, UsageError
from batch.model.batching import BATCH_TOKENS, Shapes, cut_batches
from batch.model.bundle import Bundle, open_bundle
from batch.model.bundle_files import EXTERNAL_SUFFIX, TOKENIZER, WatchedFile
from batch.model.cascade.folder import CascadeBundle
from batch.model.decision import Band, Predictions
from batch.model.inference import SHORT_THREADS, InferenceSession, usable_cpus, wanted_device
from batch.model.rules import BUNDLES_RULES, OF_BUNDLE, Rules
from batch.model.selftest import (
    check_verified,
    choose_precision,
    measured_batch_tokens,
    replay_golden,
)
from batch.model.text_cache import TextCache
from batch.model.tokenizer import TokenBatch, Tokenizer, make_tokenizer
from batch.model.truncation import WINDOWS, encode_truncated, window_logits

GPU_ENCODERS = 4  # threads that encode; a CPU needs no more than one
PADDED_AT_ONCE = 64  # batches padded in one numpy call


@dataclass(frozen=True)
class Prepared:
    """N texts, D of them distinct, E of these not in the cache, before the model runs."""

    rows: np.ndarray  # (N,) int64: the number of each text among the distinct ones
    distinct: list[str]  # D
    new: np.ndarray  # (E,) int64: numbers of the distinct texts that are not in the cache
    encoded: TokenBatch  # tokens of the E new texts
    logits: np.ndarray  # (D, K) float32; classify_prepared fills in those of new texts
    tokens: np.ndarray  # (D,) int64, as logits
    truncated: np.ndarray  # (D,) bool, as logits


class Classifier:
    """Labels texts with one bundle on one device.

    Threads may share one. A pickle holds the bundle's folder, its digest and the arguments of
    :meth:`load`. Unpickling loads the bundle from that folder again, on the device of its machine.

    >>> Classifier.load("models/spam").classify(["You won a prize"]).labels
    ['spam']
    """

    _load_arguments: tuple | None = None  # None if not made by load
    _mapped: WatchedFile | None = None  # the file that a large model's tensors are mapped from

    def __init__(
        self,
        bundle: Bundle,
        session: InferenceSession,
        tokenizer: Tokenizer,
        precision: str = "fp32",
        rules: Rules = BUNDLES_RULES,
        batch_tokens: int | None = None,
    ):
        self.bundle = bundle
        self.precision = precision
        self.manifest = bundle.manifest
        self.decision, self.truncation = rules.decision(bundle.manifest), rules.long
        self.session = session
        self.clear_cache()
        self.tokenizer = tokenizer
        self.encoders = 1 if session.device == "cpu" else min(GPU_ENCODERS, usable_cpus())
        self.batch_tokens = batch_tokens or BATCH_TOKENS[session.device]

    @classmethod
    def load(
        cls,
        folder: Path | str,
        device: str = "auto",
        threads: int | None = None,
        precision: str = "auto",
        allow_unverified: bool = False,
        threshold: float | None = None,
        unsure_band: Band | str | None = OF_BUNDLE,
        long: str = "head",
    ) -> "Classifier":
        """Check the bundle's hashes, load it, and replay its golden messages.

        Args:
            precision: one of the bundle's, or ``auto``: fp32, or the precision that was clearly
                faster when the bundle was verified on the kind of device that runs.
            threshold: a probability; None: the bundle's.
            unsure_band: two probabilities, None for no band, or ``"bundle"``.
            long: what is read of a message of more than ``max_length`` tokens: ``head``,
                ``tail`` or ``windows``.

        Raises:
            UsageError: there is no such device, the number of threads is below 1, or threshold
                and band contradict each other or the bundle.
            BundleError: it is not a bundle, a file was changed, there is no such precision, it
                was not verified, or the logits differ from those at export.
        """
        if threads is not None and not (isinstance(threads, int) and threads > 0):
            raise UsageError(f"threads is {threads!r}; give a number from 1 on, or None")
        wanted = wanted_device(device)
        bundle, rules = open_bundle(folder), Rules(threshold, unsure_band, long)
        rules.decision(bundle.manifest)
        chosen = resolve_precision(bundle, device, precision)
        options = (threads, precision, allow_unverified, threshold, unsure_band, long)
        if isinstance(bundle, CascadeBundle):
            from batch.model.cascade.classifier import load_cascade

            cascade = load_cascade(bundle, device, threads, allow_unverified, rules)
            cascade._load_arguments = (Path(folder).resolve(), device, *options)
            return cascade
        name = bundle.manifest.variants[chosen]
        if not allow_unverified:
            check_verified(bundle, chosen)
        graph, mapped = bundle.read(name), bundle.watch(name + EXTERNAL_SUFFIX)
        tokenizer = _load_tokenizer(bundle, mapped)  # also hashes the file, before it is mapped
        tokens = measured_batch_tokens(bundle, chosen, wanted)
        shapes = Shapes.of(bundle.manifest, tokens)
        tensors_in = bundle.folder if mapped else None
        threads = threads or SHORT_THREADS.get(bundle.manifest.model)
        session = InferenceSession(graph, device, threads, tensors_in, shapes)
        if session.device == wanted:
            classifier = cls(bundle, session, tokenizer, chosen, rules, tokens)
            replay_golden(bundle, chosen, tokenizer, classifier.logits)
            if mapped:
                mapped.check_in_place()
            classifier._mapped = mapped
        else:  # auto could not use the GPU, and what was chosen and verified so far is for a GPU
            note = session.note
            del session
            classifier = cls.load(folder, "cpu", *options)
            classifier.session.note = note
        # As they were given: another machine chooses the precision for its own device.
        classifier._load_arguments = (Path(folder).resolve(), device, *options)
        return classifier

    @property
    def parts(self) -> dict[str, "Classifier"]:
        """The models that label, by what stands before a figure of each; a cascade has two."""
        return {"": self}

    def check_unchanged(self) -> None:
        """Check that nobody wrote to the file that the model's tensors are mapped from.

        Raises:
            BundleError: somebody did.
        """
        if self._mapped:
            self._mapped.check_unchanged()

    def __reduce__(self):
        if self._load_arguments is None:
            raise TypeError("only a Classifier that Classifier.load made can be pickled")
        return Classifier._load_again, (self.bundle.digest, *self._load_arguments)

    @classmethod
    def _load_again(cls, digest: str, folder: Path, *arguments) -> "Classifier":
        found = open_bundle(folder).digest
        if found != digest:
            raise BundleError(
                f"{folder}: the digest is {found}, but the pickled classifier has {digest}; give "
                "both machines the same bundle"
            )
        return cls.load(folder, *arguments)

    def encode(self, text: str) -> tuple[list[int], bool]:
        """The token ids of a message that are read, and whether it has more."""
        tokens = self._encode([text])
        return tokens.row(0).tolist(), bool(tokens.truncated[0])

    def _encode(self, texts: Sequence[str]) -> TokenBatch:
        """Encode texts with enough threads to keep a GPU busy; a CPU needs one."""

        def encode(part: Sequence[str]) -> TokenBatch:
            return encode_truncated(self.tokenizer, part, self.manifest.max_length, self.truncation)

        step = -(-len(texts) // self.encoders)
        if step == len(texts):
            return encode(texts)
        parts = [texts[start : start + step] for start in range(0, len(texts), step)]
        with ThreadPoolExecutor(len(parts)) as pool:
            return TokenBatch.join(list(pool.map(encode, parts)))

    def _deciding_logits(self, tokens: TokenBatch) -> np.ndarray:
        """Logits ``(N, K)`` that decide on N texts; with windows, those of the best window."""
        if self.truncation != WINDOWS:
            return self.logits(tokens)
        return window_logits(
            self.logits,
            lambda logits: self.decision.decide(logits)[1],
            tokens,
            self.manifest.max_length,
        )

    def clear_cache(self) -> None:
        """Drop the cached logits of earlier texts. Labels do not depend on the cache."""
        self._cache = TextCache(len(self.manifest.labels))

    def logits(self, tokens: TokenBatch) -> np.ndarray:
        """Logits ``(N, K)`` float32 of N texts by their tokens; equal token ids run once."""
        same_as = np.arange(len(tokens))
        # Distinct texts have distinct ids, except truncated ones.
        first: dict[bytes, int] = {}
        for row in np.flatnonzero(tokens.truncated).tolist():
            same_as[row] = first.setdefault(tokens.row(row).tobytes(), row)
        distinct = np.flatnonzero(same_as == np.arange(len(tokens)))
        result = np.empty((len(tokens), len(self.manifest.labels)), dtype=np.float32)
        for rows, ids in self._batches(tokens, distinct):
            logits = self.session.run(ids)
            if logits.shape != (len(rows), result.shape[1]):
                raise BundleError(
                    f"{self.bundle.folder}: the model gives logits of shape {logits.shape} for "
                    f"{len(rows)} messages and {result.shape[1]} labels"
                )
            result[rows] = logits
        return result[same_as]

    def _batches(
        self, tokens: TokenBatch, rows: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches with each row once: row numbers ``(B,)`` and padded ids ``(B, T)``."""
        fixed = self.manifest.max_length if self.manifest.fixed_length else None
        batches = cut_batches(tokens.lengths[rows], self.batch_tokens, fixed, self.session.shapes)
        # Pad many batches in one step: with small batches, numpy's time is the time of a call.
        while group := list(islice(batches, PADDED_AT_ONCE)):
            numbers = [rows[part] for part, _ in group]
            sizes = [len(part) for part in numbers]
            widths = np.repeat([width for _, width in group], sizes)
            padded = tokens.pad(np.concatenate(numbers), widths, self.manifest.pad_id)
            start = 0
            for part, (_, width) in zip(numbers, group, strict=True):
                end = start + len(part) * width
                yield part, padded[start:end].reshape(len(part), width)
                start = end

    def prepare(self, texts: Sequence[str]) -> Prepared:
        """Do the work before the model runs: look up known texts, and encode the others.

        One thread may do this while another runs :meth:`classify_prepared`.
        """
        if isinstance(texts, str):
            raise TypeError("texts is one string, expected a list of them")
        number: dict[str, int] = {}
        rows = [number.setdefault(text, len(number)) for text in texts]
        distinct = list(number)
        known, logits, tokens, truncated = self._cache.look_up(distinct)
        new = np.flatnonzero(~known)
        encoded = self._encode([distinct[row] for row in new])
        return Prepared(
            np.array(rows, dtype=np.int64), distinct, new, encoded, logits, tokens, truncated
        )

    def classify_prepared(self, prepared: Prepared) -> Predictions:
        """Label the texts that were given to :meth:`prepare`, in their order."""
        return self.decide(prepared, self.run(prepared))

    def run(self, prepared: Prepared) -> int:
        """Run the model on the new texts: fills in the logits of all distinct ones.

        Returns:
            how many of the N texts had the text of an earlier one.
        """
        new, encoded = prepared.new, prepared.encoded
        texts = [prepared.distinct[row] for row in new]
        # Look up again: an earlier call may have labelled some of them since then.
        known, logits, *_ = self._cache.look_up(texts)
        unknown = np.flatnonzero(~known)
        if len(unknown):
            logits[unknown] = self._deciding_logits(encoded.take(unknown))
        prepared.logits[new] = logits
        prepared.tokens[new] = encoded.lengths
        prepared.truncated[new] = encoded.truncated
        self._cache.add(
            [texts[row] for row in unknown], logits[unknown], encoded.lengths[unknown],
            encoded.truncated[unknown],
        )  # fmt: skip
        return len(prepared.rows) - len(unknown)

    def decide(self, prepared: Prepared, repeated: int) -> Predictions:
        """The labels of N texts by the logits that :meth:`run` filled in."""
        rows = prepared.rows
        best, scores, probabilities = self.decision.decide(prepared.logits[rows])
        given = self.decision.given
        return Predictions(
            [given[index] for index in best.tolist()],
            scores,
            probabilities,
            tokens=prepared.tokens[rows],
            truncated=prepared.truncated[rows],
            repeated=repeated,
            reasons=self.decision.reasons(best),
        )

    def classify(self, texts: Sequence[str]) -> Predictions:
        """Label N texts. A text's label and score do not depend on the other texts.

        Raises:
            TypeError: one of them is not a string.
        """
        texts = texts if isinstance(texts, str) else list(texts)
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                kind = type(text).__name__  # the value may be private
                raise TypeError(f"texts[{number}] is of type {kind}, expected str")
        return self.classify_prepared(self.prepare(texts))


def _load_tokenizer(bundle: Bundle, mapped: WatchedFile | None) -> Tokenizer:
    """Load the tokenizer, while another thread checks the hash of the ``mapped`` file."""
    with ThreadPoolExecutor(1) as pool:  # hashing does not hold Python's lock
        hashing = pool.submit(mapped.check_hash) if mapped else None
        tokenizer = make_tokenizer(bundle.read(TOKENIZER))
        if hashing:
            hashing.result()
    return tokenizer


def resolve_precision(bundle: Bundle, device: str, precision: str) -> str:
    """The precision to run in. ``auto`` is fp32, or one that is verified and clearly faster.

    With device ``auto`` it holds if the GPU, where there is one, works.

    Raises:
        BundleError: the bundle has no such precision.
    """
    chosen = choose_precision(bundle, wanted_device(device)) if precision == "auto" else precision
    if chosen not in bundle.manifest.variants:
        there = ", ".join(bundle.manifest.variants)
        raise BundleError(f"{bundle.folder}: has no precision {chosen}; choose from: {there}")
    return chosen


def foresee(bundle: Bundle, device: str, precision: str) -> tuple[str, str] | None:
    """Precision and device, such as ``int8`` and ``cuda``, if they are certain before a load.

    None if only a load tells: device ``auto`` takes the GPU, or the CPU if the GPU does not work.

    Raises:
        UsageError: there is no such device.
        BundleError: the bundle has no such precision, or the device is not available.
    """
    chosen, wanted = resolve_precision(bundle, device, precision), wanted_device(device)
    return (chosen, wanted) if wanted in (device, "cpu") else None
