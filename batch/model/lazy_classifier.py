"""A classifier that is loaded once, when it is first needed."""

from collections.abc import Callable

from batch.errors import BundleError
from batch.model.bundle import Bundle
from batch.model.classifier import Classifier


class LazyClassifier:
    """Loads the classifier of ``bundle`` at the first :meth:`get`.

    So an error in the input needs no model load, and many files need one load.

    Attributes:
        error: the exception of a load that failed, or None.
    """

    def __init__(
        self,
        bundle: Bundle,
        load: Callable[[], Classifier],
        runs_in: tuple[str, str] | None = None,
    ):
        """
        Args:
            runs_in: precision and device, if they are certain before the classifier is loaded;
                see :func:`batch.model.classifier.foresee`.
        """
        self.bundle = bundle
        self.error: Exception | None = None
        self._load = load
        self._runs_in = runs_in
        self._classifier: Classifier | None = None

    @property
    def runs_in(self) -> tuple[str, str]:
        """Precision and device that really run, such as ``int8`` and ``cuda``.

        If only the load tells them, the classifier is loaded.

        Raises:
            SpamBatchError: as :meth:`get`.
        """
        if self._runs_in is None:
            classifier = self.get()
            self._runs_in = classifier.precision, classifier.session.device
        return self._runs_in

    def get(self) -> Classifier:
        """The classifier, the same object at each call.

        Raises:
            SpamBatchError: the classifier cannot be loaded.
            BundleError: the bundle was replaced after it was opened.
        """
        if self._classifier is None:
            try:
                self._classifier = self._load()
            except Exception as error:
                self.error = error
                raise
        if self._classifier.bundle.digest != self.bundle.digest:
            raise BundleError(f"{self.bundle.folder}: was replaced while it was loaded; run again")
        return self._classifier
