"""Label CSV dumps of messages with an exported GPT-2 classifier.

This is the part that runs in production: it imports no torch, tensorflow or
pandas, and opens no socket.

>>> from batch import Classifier
>>> Classifier.load("models/spam").classify(["You won a prize"]).labels
['spam']
"""

from batch.version import __version__ as __version__

__all__ = ["Classifier", "Predictions"]


def __getattr__(name: str):
    """``Classifier`` and ``Predictions``, imported when they are asked for: --help is not slow."""
    if name in __all__:
        from batch.model import classifier

        return getattr(classifier, name)
    raise AttributeError(f"module 'batch' has no attribute {name!r}")
