"""A classifier that is loaded when it is first needed, and once."""

from collections.abc import Callable

from batch.errors import BundleError
from batch.model.bundle import Bundle
from batch.model.classifier import Classifier


class LazyClassifier:
    """Loads the classifier of ``bundle`` at the first :meth:`get`.

    A wrong column then costs no model load, and many files cost one.

    Attributes:
        error: what the load raised, or None.
    """

    def __init__(self, bundle: Bundle, load: Callable[[], Classifier]):
        self.bundle = bundle
        self.error: Exception | None = None
        self._load = load
        self._classifier: Classifier | None = None

    def get(self) -> Classifier:
        """The classifier, the same one at each call.

        Raises:
            SpamBatchError: it cannot be loaded.
            BundleError: the bundle was replaced since it was opened.
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
