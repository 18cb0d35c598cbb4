"""Types of a Parquet column: which hold text, and how to make a text of the others."""

import shlex
from pathlib import PurePath
from typing import Any, NoReturn

from batch.errors import InputError
from batch.messages import TEXT_NAMES, list_columns
from batch.reading.remote import is_uri

# Programs that write a Parquet file anew; their arguments are a column, the file, and the new one.
_FLATTEN = "i, o = sys.argv[1:]; t = q.read_table(i).flatten(); q.write_table(t, o)"
_CHANGE = (
    "n, i, o = sys.argv[1:]; t = q.read_table(i); "
    "q.write_table(t.set_column(t.column_names.index(n), n, {}), o)"
)
_JOIN = _CHANGE.format(r"c.binary_join(t[n], chr(10))")
_EACH = _CHANGE.format("[[v if v is None else {} for v in t[n].to_pylist()]]")
_DECODE = _EACH.format("v.decode('cp1252')")
_UNDO = _EACH.format("b''.join(c.encode('cp1252', 'ignore') or c.encode('latin-1') for c in v)")
STRINGS = ("string", "large_string", "string_view")
BYTES = ("binary", "large_binary", "binary_view")


def holds(found: Any, names: tuple[str, ...]) -> bool:
    """True if a type of Arrow, or that of a dictionary's values, has one of these names."""
    return _inner_type(found) in names


def _inner_type(found: Any) -> str:
    """The name of a type of Arrow; of a dictionary, that of its values."""
    from pyarrow import types

    return str(found.value_type if types.is_dictionary(found) else found)


def refuse_type(name: str, column: str, found: Any, key: str | None) -> NoReturn:
    """Refuse a text column that holds neither strings nor bytes.

    Args:
        name: of the input, for messages.
        column: as a message names it.
        found: the column's type of Arrow.
        key: the column's name; None: it may be the text of a message, so no command has it.

    Raises:
        InputError: always, with a command that makes a text of the column where there is one.
    """
    from pyarrow import types

    what = f"{name}: the text column {column}"
    if types.is_null(found):
        raise InputError(f"{what} has no value at all; name another with --text-column")
    if types.is_struct(found) and key is not None:
        fields = [found.field(at).name for at in range(found.num_fields)]
        field = next((name for name in fields if name.lower() in TEXT_NAMES), fields[0])
        raise InputError(
            f"{what} is a struct of {list_columns(fields)}; type: "
            f"{_make_command(_FLATTEN, name)}, and then --text-column "
            f"{shlex.quote(f'{key}.{field}')}"
        )
    if types.is_list(found) or types.is_large_list(found):
        value = found.value_type
        if _inner_type(value) in STRINGS and key is not None:
            raise InputError(
                f"{what} is a list of strings; type: {_make_command(_JOIN, name, key)}"
            )
        of = "structs" if types.is_struct(value) else str(value)
        raise InputError(f"{what} is a list of {of}; make one text of each list first")
    raise InputError(f"{what} holds {found}, not strings; name another with --text-column")


def make_decode_command(name: str, key: str | None) -> str:
    """The command that reads a column of bytes as cp1252; ``key`` as in :func:`refuse_type`."""
    return _make_command(_DECODE, name, "COLUMN" if key is None else key)


def make_undo_command(name: str, key: str | None) -> str:
    """The command for strings that were encoded twice, which become bytes; ``key`` as in
    :func:`refuse_type`."""
    return _make_command(_UNDO, name, "COLUMN" if key is None else key)


def _make_command(program: str, name: str, *column: str) -> str:
    new = "FILE.parquet" if is_uri(name) else str(PurePath(name).with_suffix(".fixed.parquet"))
    words = [*column, "FILE" if is_uri(name) else name, new]
    imports = "import sys, pyarrow.compute as c, pyarrow.parquet as q"
    return f'python3 -c "{imports}; {program}" {shlex.join(words)}'
