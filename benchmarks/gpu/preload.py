"""Import what is slow once, in the process that the steps with PyTorch are forked from.

An error here would end that process. The step meets it again, and tells it.
"""

from contextlib import suppress

with suppress(Exception):
    import making  # noqa: F401
