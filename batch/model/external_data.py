"""Which other files an ONNX file refers to, found before onnxruntime loads it.

A tensor may keep its data in another file at any path ("external data"). Only the fields that
can hold a tensor are parsed, by their numbers in onnx.proto. All others are skipped.
"""

from collections.abc import Iterator
from mmap import mmap

# Message -> field number -> the message in that field.
TENSOR_FIELDS = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # field numbers of a tensor
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers


def external_files(model: bytes | mmap) -> set[str]:
    """Names of the files that hold tensors of the serialized ``model``, as written in it.

    ``""`` stands for a tensor with external data and no file name.

    Raises:
        ValueError: the bytes are not a protocol buffer.
    """
    found: set[str] = set()
    todo = [("Model", memoryview(model))]
    while todo:
        message, data = todo.pop()
        is_elsewhere, places = False, set[str]()
        for number, value in _read_fields(data):
            if message == "Tensor" and number == EXTERNAL_DATA:
                is_elsewhere = True
                places |= _read_location(value)
            if message == "Tensor" and number == DATA_LOCATION and value != 0:
                is_elsewhere = True
            inner = TENSOR_FIELDS[message].get(number)
            if inner and isinstance(value, memoryview):
                todo.append((inner, value))
        if is_elsewhere:
            found |= places or {""}
    return found


def _read_location(entry: int | memoryview) -> set[str]:
    """The file name in one key-value entry of a tensor's external data; empty for other keys."""
    if not isinstance(entry, memoryview):
        raise ValueError("an entry that is a number")
    key, value = (
        [field for number, field in _read_fields(entry) if number == wanted] for wanted in (1, 2)
    )
    texts = [field for field in value if isinstance(field, memoryview)]
    if len(texts) < len(value) or not all(isinstance(field, memoryview) for field in key):
        raise ValueError("an entry that holds a number")
    if any(field == b"location" for field in key):
        return {bytes(field).decode("utf-8", "replace") for field in texts} or {""}
    return set()


def _read_fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind = tag & 7
        value: int | memoryview
        if kind == VARINT:
            value, at = _read_varint(data, at)
        elif kind == BYTES:
            length, start = _read_varint(data, at)
            value, at = data[start : start + length], start + length
        elif kind in (FIXED64, FIXED32):
            value, at = 0, at + (8 if kind == FIXED64 else 4)
        else:
            raise ValueError(f"field of kind {kind}")
        if at > len(data):
            raise ValueError("cut short")
        yield tag >> 3, value


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("cut short, or a number too long")
        byte = data[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
