"""What to type when JSON Lines are not as they are read: a command of jq or sed.

No sentence here shows a value of the input.
"""

import json
import shlex

from batch.messages import TEXT_NAMES, list_columns, look_like_names, show
from batch.reading.foreign import make_command
from batch.reading.record import Record
from batch.reading.records import UTF8_BOM

Object = dict[str, object]


def describe_columns(name: str, found: Object, wanted: str | None) -> str | None:
    """What an input is whose first line is one object of columns, as pandas writes it; or None."""
    if not found or not all(isinstance(v, dict | list) for v in found.values()):
        return None
    keys = [key for key in found if key == wanted or (not wanted and key.lower() in TEXT_NAMES)]
    lengths = {len(value) for value in found.values() if isinstance(value, dict | list)}
    if not keys or len(lengths) > 1 or len(found) < 2:
        return None
    rows = f"range(.[{json.dumps(keys[0])}]|length) as $i | map_values(.[$i])"
    command = make_command(f"jq -c {shlex.quote(f'map_values([.[]]) | {rows}')}", name, ".jsonl")
    return f"is one JSON object of columns, not of one message a line; type: {command}"


def advise_record(name: str, record: Record, found: Object, text_key: str) -> str | None:
    """What to type so that a bad line is good; None if nothing was found.

    Args:
        found: the members of the line; none if it is not valid.
        text_key: the key that the text is looked for under.
    """
    if record.raw.startswith(UTF8_BOM):
        command = make_command(r"sed 's/^\xEF\xBB\xBF//'", name)
        return f"a byte order mark stands before it, as in files joined with cat; type: {command}"
    value = found.get(text_key)
    if isinstance(value, dict):
        keys = [key for key, inner in value.items() if isinstance(inner, str)]
        usual = [key for key in keys if key.lower() in TEXT_NAMES]
        path = [text_key, (usual or keys)[0]] if keys else []
        what = f"it is an object with {list_columns(list(value))}"
    else:
        path = [] if text_key in found else _find_path(found, text_key)
        what = f"the text is inside {show(path[0])}" if path else ""
    if not path or not look_like_names(path):
        return None
    new = path[-1]
    while new in found:
        new = f"{new}_inside"
    inner = "".join(f"[{json.dumps(key)}]" for key in path)
    command = f"jq -c {shlex.quote(f'{{{json.dumps(new)}: .{inner}}} + .')}"
    return f"{what}; type: {make_command(command, name)}, and then --text-column {shlex.quote(new)}"


def find_nested(found: Object) -> list[str]:
    """Usual names of the text that stand inside the objects of an object, such as ``text``."""
    holders = [value for value in found.values() if isinstance(value, dict)]
    return [key for value in holders for key in value if key.lower() in TEXT_NAMES]


def _find_path(found: Object, text_key: str) -> list[str]:
    """The keys that lead to a string called ``message.text``, ``/message/text`` or ``text``."""
    mark = "/" if text_key.startswith("/") else "."
    path = text_key.strip(mark).split(mark)
    starts = [[]] if path[1:] else [[key] for key in found]
    for start in starts:
        value: object = found
        for key in start + path:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, str):
            return start + path
    return []
