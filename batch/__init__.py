"""Label CSV dumps of messages with an exported GPT-2 classifier.

This package runs in production: it imports no torch, tensorflow or pandas, and opens no socket
for local files.

>>> from batch import Classifier
>>> Classifier.load("models/spam").classify(["You won a prize"]).labels
['spam']
"""

from batch.version import __version__ as __version__

__all__ = ["Classifier", "Predictions"]


def __getattr__(name: str):
    """Import ``Classifier`` and ``Predictions`` at their first use, so that --help is fast."""
    if name in __all__:
        from batch.model import classifier

        return getattr(classifier, name)
    raise AttributeError(f"module 'batch' has no attribute {name!r}")
