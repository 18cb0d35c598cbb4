"""The user's rules for how a message becomes a label. The bundle has the defaults."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from batch.errors import UsageError
from batch.model.bundle import Manifest
from batch.model.decision import Band, Decision
from batch.model.truncation import HEAD, MODES

OF_BUNDLE = "bundle"
NO_BAND = "none"  # as the user types it


@dataclass(frozen=True)
class Rules:
    """One field for each option. The names are those of the options and of ``Classifier.load``."""

    threshold: float | None = None  # probability; None: the bundle's
    unsure_band: Band | str | None = OF_BUNDLE  # probabilities; None: no row is unsure
    long: str = HEAD  # a truncation mode

    def decision(self, manifest: Manifest) -> Decision:
        """How logits become a label with these rules.

        Raises:
            UsageError: the rules contradict each other or the bundle.
        """
        if self.long not in MODES:
            raise UsageError(f"long is {self.long!r}; choose from {', '.join(MODES)}")
        found = manifest.decision
        if self.threshold is not None:
            if not found.has_threshold:
                raise UsageError(f"a threshold {found.needs_threshold()}")
            found = replace(found, threshold=float(self.threshold))
        if self.unsure_band != OF_BUNDLE:
            band = check_band(self.unsure_band) if self.unsure_band else None
            found = replace(found, unsure_band=band)
        if problem := found.find_problem():
            raise UsageError(problem)
        return found

    def settings(self, manifest: Manifest) -> dict[str, str]:
        """Option -> value that applies, the bundle's value if the user gave none."""
        found = self.decision(manifest)
        return {
            "--threshold": f"{found.threshold}",
            "--unsure-band": format_band(found.unsure_band),
            "--long": self.long,
        }

    @classmethod
    def of_settings(cls, settings: dict[str, str], manifest: Manifest) -> "Rules":
        """The inverse of :meth:`settings`, with the same bundle."""
        own = BUNDLES_RULES.settings(manifest)
        given = {name: settings[name] for name in own if settings[name] != own[name]}
        threshold, band = given.get("--threshold"), given.get("--unsure-band")
        return cls(
            float(threshold) if threshold else None,
            parse_band(band) if band else OF_BUNDLE,
            settings["--long"],
        )


BUNDLES_RULES = Rules()


def parse_band(value: str) -> Band | None:
    """Parse ``LOW,HIGH``, or ``none``.

    >>> parse_band("0.35,0.65")
    (0.35, 0.65)

    Raises:
        UsageError: the value is neither.
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


def check_band(band: Iterable[float | str]) -> Band:
    """The two numbers of a band.

    Raises:
        UsageError: they are not two numbers.
    """
    try:
        low, high = map(float, band)
    except (TypeError, ValueError):
        raise UsageError(
            f"unsure_band is {band!r}; give two probabilities, None, or {OF_BUNDLE!r}"
        ) from None
    return low, high


def format_band(band: Band | None) -> str:
    """A band as the user types it."""
    return NO_BAND if band is None else f"{band[0]},{band[1]}"
