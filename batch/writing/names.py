"""The names of the files that stand beside an output."""

from pathlib import Path

REJECTS_ENDING, MANIFEST_ENDING = ".rejects.csv", ".run.json"
PARTS_MANIFEST = "_manifest.json"  # of a folder that many machines have written
MANIFEST_FORMAT = "spam-batch run"  # the value of a run manifest's key "format"
# How these files begin. A file that begins otherwise is not one of them.
REJECTS_START = b"line,byte_offset,reason,record\n"
MANIFEST_START = f'{{\n "format": "{MANIFEST_FORMAT}"'.encode()


def rejects_path(target: Path) -> Path:
    """``labeled.rejects.csv`` for ``labeled.csv``; another ending than ``.csv`` stays."""
    return target.with_name(target.name.removesuffix(".csv") + REJECTS_ENDING)


def manifest_path(target: Path) -> Path:
    """``labeled.csv.run.json`` for ``labeled.csv``."""
    return target.with_name(target.name + MANIFEST_ENDING)


def checkpoint_path(target: Path) -> Path:
    """``.labeled.csv.checkpoint.json`` for ``labeled.csv``."""
    return target.with_name(f".{target.name}.checkpoint.json")
