"""The few errors that this project raises, and the exit status of each.

The numbers are those of ``sysexits.h``, where it has one. Only the command lines turn an error
into a message and an exit status.
"""

REJECTED = 3  # exit status of a complete run that has rejected records


class SpamBatchError(Exception):
    """Base of all our errors; ``str(error)`` is the message for the user."""

    exit_code = 70


class UsageError(SpamBatchError):
    """Options that contradict each other or cannot be used together."""

    exit_code = 2


class InputError(SpamBatchError):
    """The input is bad: which file, line and byte, and why."""

    exit_code = 65


class BrokenInputError(InputError):
    """The input is damaged from here on; ``--max-rejects`` does not help."""


class ChangedInputError(InputError):
    """The input was cut or overwritten while it was read, so the rows so far are worthless."""


class OtherFormatError(InputError):
    """A file of ours has the format version of an older or a newer version of this program."""


class MissingInputError(SpamBatchError):
    """An input is missing, is a folder, or cannot be read."""

    exit_code = 66


class UnavailableError(SpamBatchError):
    """A file could not be downloaded from any source, or no source had the right file.

    The message may have several lines: what was wanted, one line for each source, what to type.
    """

    exit_code = 69

    def in_short(self) -> str:
        """The message without the lines for each source, which were logged when it was tried."""
        lines = str(self).split("\n")
        return "; ".join(dict.fromkeys((lines[0], lines[-1])))


class InternalError(SpamBatchError):
    """An error in this program, such as a logit that is not a number."""

    exit_code = 70


class OutputError(SpamBatchError):
    """The output cannot be created."""

    exit_code = 73


class StorageError(SpamBatchError):
    """An I/O error while reading or writing, such as a full disk."""

    exit_code = 74


class LockedError(SpamBatchError):
    """Another run holds the lock."""

    exit_code = 75


class BundleError(SpamBatchError):
    """The bundle or the device cannot be used."""

    exit_code = 78
