"""The version of spam-batch."""

__version__ = "0.1.0"
