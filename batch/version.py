"""The version of spam-batch."""

__version__ = "0.2.0"
