"""What an input is that is neither CSV nor JSON Lines, by its first bytes, and what to type."""

import json
import re
import shlex
from pathlib import PurePath

from batch.reading.compression import compression_of_name

_TOOLS = {"gzip": "gzip -dc", "bzip2": "bzip2 -dc", "xz": "xz -dc", "zstd": "zstd -dc"}
_SMS_BACKUP = (
    "python3 -c 'import sys,json,xml.etree.ElementTree as E; "
    '[print(json.dumps({"text": m.get("body")})) for m in E.parse(sys.stdin).iter("sms")]\' <'
)
_WORKBOOK_PARTS = (b"[Content_Types].xml", b"xl/", b"application/vnd.oasis.opendocument")
_SAVE_AS_CSV = "is a workbook, not text; save it as CSV (UTF-8) and give that"

# How a file begins -> what it is, and the program that prints what is in it.
_PACKED = {
    b"\x04\x22\x4d\x18": ("lz4 data", "lz4 -dc"),
    b"\x1f\x9d": ("data of compress", "gzip -dc"),
    b"LZIP\x01": ("lzip data", "lzip -dc"),
    b"\x5d\x00\x00": ("lzma data", "xz --format=lzma -dc"),
    b"\xff\x06\x00\x00sNaPpY": ("Snappy data", "python3 -m snappy -d"),
    b"7z\xbc\xaf\x27\x1c": ("a 7-Zip archive", "7z x -so"),
    b"Rar!\x1a\x07": ("a RAR archive", "unrar p -inul"),
}
_OTHERS = {
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": _SAVE_AS_CSV,
    b"PAR1": "is a Parquet file; type: --format parquet",
    b"ARROW1\0\0": "is an Arrow file (Feather), not text; write it as Parquet and give that",
    b"Obj\x01": "is an Avro file, not text; write it as JSON Lines and give that",
    b"SQLite format 3\0": "is an SQLite database, not text; export the table as CSV and give that",
    b"%PDF-": "is a PDF, not text; export the messages as CSV and give that",
}


def make_command(command: str, name: str, ending: str | None = None) -> str:
    """A shell command that reads the input ``name`` and writes another file beside it.

    >>> make_command("tail -n +4", "inbox.csv.gz")
    'gzip -dc inbox.csv.gz | tail -n +4 > inbox.fixed.csv'

    Args:
        command: reads the file whose name follows it, or standard input.
        ending: of the new file; None: ``.fixed`` and that of the input.
    """
    if name == "-" or "://" in name:
        name = "FILE"
    kind = compression_of_name(name)
    stem = PurePath(name[: -len(kind.ending)] if kind else name)
    new = stem.with_suffix(f".fixed{stem.suffix}" if ending is None else ending)
    if str(new) == name:
        new = stem.with_suffix(f".fixed{ending}")
    if kind:
        command = f"{_TOOLS[kind.name]} {shlex.quote(name)} | {command.removesuffix(' <')}"
    else:
        command = f"{command} {shlex.quote(name)}"
    return f"{command} > {shlex.quote(str(new))}"


def describe_foreign(name: str, head: bytes) -> str | None:
    """What an input is, as a clause that follows its name; None if it may be text to label.

    Args:
        name: of the input, for the command to type.
        head: its first bytes, decompressed.
    """
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        if any(part in head for part in _WORKBOOK_PARTS):
            return _SAVE_AS_CSV
        return f"is a zip archive; type: {_unpack('unzip -p', name)}"
    for mark, (what, command) in _PACKED.items():
        if head.startswith(mark):
            return f"is {what}; type: {_unpack(command, name)}"
    if head[257:262] == b"ustar":
        return f"is a tar archive; type: {_unpack('tar -xOf', name)}"
    for mark, what in _OTHERS.items():
        if head.startswith(mark):
            return what
    return _describe_text(name, head.removeprefix(b"\xef\xbb\xbf").lstrip())


def _unpack(command: str, name: str) -> str:
    file = "FILE" if name == "-" or "://" in name else name
    kind = compression_of_name(file)  # the program decompresses, too
    new = PurePath(file[: -len(kind.ending)] if kind else file).with_suffix(".fixed.csv")
    return f"{command} {shlex.quote(file)} > {shlex.quote(str(new))}"


def _describe_text(name: str, head: bytes) -> str | None:
    """What an input is that is text."""
    lowered = head[:1024].lower()
    if lowered.startswith(b"version https://git-lfs.github.com/spec/"):
        return "is a pointer of Git LFS, not the data; type: git lfs pull"
    first = lowered.splitlines()[0] if lowered else b""
    if lowered.startswith((b"<!doctype html", b"<html")) and b"</html>" not in first:
        return "is an HTML page, not a table (a login page?); download the data again"
    if not lowered.startswith((b"<?xml", b"<smses")):
        return None
    if re.search(rb"<smses\b", head):
        command = make_command(_SMS_BACKUP, name, ".jsonl")
        return f"is XML of SMS Backup & Restore; type: {command}"
    return "is XML, not a table; export the messages as CSV or JSON Lines and give that"


def describe_json(name: str, line: bytes) -> str | None:
    """What an input is whose first line is JSON but not one object, as a clause that follows
    its name; None if it may be JSON Lines, or is no JSON.
    """
    if re.match(rb'\s*\[\s*([{\["]|$)', line):
        command = make_command("jq -c '.[]'", name, ".jsonl")
        return f"is a JSON array, not JSON Lines; type: {command}"
    if re.match(rb'\s*\{\s*("|$)', line) and _goes_on(line):
        command = make_command("jq -c .", name, ".jsonl")
        return f"is JSON, but not one object a line; type: {command}"
    return None


def _goes_on(line: bytes) -> bool:
    """True for the first line of an object of several lines, and for several objects."""
    if line.rstrip().endswith((b"{", b"[", b",")):
        return True
    text = line.decode("utf-8", "replace").strip()
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return text[end:].lstrip().startswith("{")
