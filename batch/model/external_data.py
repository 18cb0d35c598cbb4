"""Which other files an ONNX file asks for; seen in its bytes, before onnxruntime gets them.

A tensor may keep its data elsewhere, at any path ("external data"). Only the fields that
can hold a tensor are walked, by their numbers in onnx.proto; all others are skipped.
"""

from collections.abc import Iterator

# Message -> number of a field -> the message in it.
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
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # of a tensor
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # how a field's value is written


def external_files(model: bytes) -> set[str]:
    """Names of the files in which tensors of the serialized ``model`` lie, as it gives them.

    ``""`` stands for a tensor that lies elsewhere without saying where.

    Raises:
        ValueError: the bytes are no protocol buffer.
    """
    found = set()
    todo = [("Model", memoryview(model))]
    while todo:
        message, data = todo.pop()
        is_elsewhere, places = False, set()
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
    """The file that one entry of a tensor's external data names, if it is that entry."""
    if not isinstance(entry, memoryview):
        raise ValueError("an entry that is a number")
    key, value = (
        [field for number, field in _read_fields(entry) if number == wanted] for wanted in (1, 2)
    )
    if not all(isinstance(field, memoryview) for field in key + value):
        raise ValueError("an entry that holds a number")
    if any(bytes(field) == b"location" for field in key):
        return {bytes(field).decode("utf-8", "replace") for field in value} or {""}
    return set()


def _read_fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind = tag & 7
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
