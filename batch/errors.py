"""The few errors that this project raises, and the exit status of each.

The numbers are those of ``sysexits.h``, where it has one. Only the command lines turn an error
into a message and an exit status.
"""

import errno
import re

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


class OutOfMemoryError(SpamBatchError):
    """The memory of the machine or of the GPU is not enough for this run."""

    exit_code = 71


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


# What Python's threads, torch, onnxruntime, CUDA, the dynamic linker and Ray write when they get
# no memory.
_NO_MEMORY = re.compile(
    r"not enough memory|can't allocate memory|cannot allocate memory|failed to allocate memory"
    r"|bad[_ ]?alloc|out of memory|_alloc_failed|low on memory|killed by the OOM killer"
    r"|can't start new thread|failed to map segment from shared object$",
    re.IGNORECASE,
)
_OF_LIBRARIES = ("onnxruntime", "ray.")  # their errors have classes of their own


def is_out_of_memory(error: BaseException | None) -> bool:
    """True if ``error``, or what it was raised from, is a lack of memory.

    The libraries have no common class for it, and torch is not imported here. So some errors
    are recognised by the name of their class, or by their text.
    """
    if error is None:
        return False
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    kind = type(error)
    if isinstance(error, MemoryError) or kind.__name__ == "OutOfMemoryError":  # torch's, Ray's
        return True
    is_of_library = kind.__module__.startswith(_OF_LIBRARIES)
    may_be = is_of_library or isinstance(error, RuntimeError | ImportError)
    if may_be and _NO_MEMORY.search(str(error)):
        return True
    return is_out_of_memory(error.__cause__)
