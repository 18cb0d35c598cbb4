"""The few errors that this project raises, and the exit status of each.

The numbers are those of ``sysexits.h`` where it has one. Only the ``cli``
modules turn an error into a message and an exit status.
"""

REJECTED = 3  # exit status of a run that is complete, but for records that were rejected


class SpamBatchError(Exception):
    """Base of all our errors; ``str(error)`` is one sentence for the user."""

    exit_code = 70


class UsageError(SpamBatchError):
    """Options that contradict each other or cannot be used together."""

    exit_code = 2


class InputError(SpamBatchError):
    """The input is bad: which file, line and byte, and why."""

    exit_code = 65


class BrokenInputError(InputError):
    """From here on the input cannot be read as what it is, whatever is allowed."""


class ChangedInputError(InputError):
    """The input was cut or overwritten while it was read; what was made of it is worth nothing."""


class MissingInputError(SpamBatchError):
    """An input is missing, is a folder, or cannot be read."""

    exit_code = 66


class UnavailableError(SpamBatchError):
    """None of the sources of a file could be reached or trusted.

    The text may have a line for each, between what was wanted and what to type.
    """

    exit_code = 69

    def in_short(self) -> str:
        """Without those lines, which were logged when each was tried."""
        lines = str(self).split("\n")
        return "; ".join(dict.fromkeys((lines[0], lines[-1])))


class InternalError(SpamBatchError):
    """A fault of ours, such as a logit that is not a number."""

    exit_code = 70


class OutputError(SpamBatchError):
    """The output cannot be created."""

    exit_code = 73


class StorageError(SpamBatchError):
    """An I/O error on the way, such as a full disk."""

    exit_code = 74


class LockedError(SpamBatchError):
    """Another run holds the lock."""

    exit_code = 75


class BundleError(SpamBatchError):
    """The bundle, or the device asked for, is not usable."""

    exit_code = 78
