"""What a user may choose of how a message becomes a label; the bundle's own where nothing is."""

from dataclasses import dataclass, replace

from batch.errors import UsageError
from batch.model.bundle import Manifest
from batch.model.decision import Band, Decision
from batch.model.truncation import HEAD, MODES

OF_BUNDLE = "bundle"
NO_BAND = "none"  # as it is typed


@dataclass(frozen=True)
class Rules:
    threshold: float | None = None  # probability; None: the bundle's
    unsure_band: Band | str | None = OF_BUNDLE  # probabilities; None: no row is unsure
    long: str = HEAD  # what is read of a message that is longer than max_length

    def decision(self, manifest: Manifest) -> Decision:
        """How logits become a label by these rules.

        Raises:
            UsageError: they contradict each other or the bundle.
        """
        if self.long not in MODES:
            raise UsageError(f"long is {self.long!r}; choose from {', '.join(MODES)}")
        found = manifest.decision
        if self.threshold is not None:
            if not found.has_threshold:
                raise UsageError(f"a threshold {found.needs_threshold()}")
            found = replace(found, threshold=float(self.threshold))
        if self.unsure_band != OF_BUNDLE:
            band = self.unsure_band
            found = replace(found, unsure_band=band and check_band(band))
        if problem := found.find_problem():
            raise UsageError(problem)
        return found

    def settings(self, manifest: Manifest) -> dict[str, str]:
        """Option -> value, the bundle's where none was given: what an output depends on."""
        found = self.decision(manifest)
        return {
            "--threshold": f"{found.threshold}",
            "--unsure-band": format_band(found.unsure_band),
            "--long": self.long,
        }

    @classmethod
    def of_settings(cls, settings: dict[str, str], manifest: Manifest) -> "Rules":
        """The rules that :meth:`settings` described, of the same bundle."""
        own = BUNDLES_RULES.settings(manifest)
        given = {name: settings[name] for name in own if settings[name] != own[name]}
        threshold, band = given.get("--threshold"), given.get("--unsure-band")
        return cls(
            threshold and float(threshold),
            parse_band(band) if band else OF_BUNDLE,
            settings["--long"],
        )


BUNDLES_RULES = Rules()


def parse_band(value: str) -> Band | None:
    """``LOW,HIGH``, or ``none``.

    >>> parse_band("0.35,0.65")
    (0.35, 0.65)

    Raises:
        UsageError: it is neither.
    """
    if value.strip() == NO_BAND:
        return None
    try:
        return check_band(value.split(","))
    except UsageError:
        raise UsageError(
            f"--unsure-band {value!r} is neither two probabilities nor none; type for example: "
            "--unsure-band 0.35,0.65"
        ) from None


def check_band(band) -> Band:
    """
    Raises:
        UsageError: not two numbers.
    """
    try:
        low, high = map(float, band)
    except (TypeError, ValueError):
        raise UsageError(
            f"unsure_band is {band!r}; give two probabilities, None, or {OF_BUNDLE!r}"
        ) from None
    return low, high


def format_band(band: Band | None) -> str:
    """As it is typed."""
    return NO_BAND if band is None else f"{band[0]},{band[1]}"
