"""Trace the padded fixed-length classifier to one ONNX file."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnxscript  # noqa: F401  torch's exporter needs it; its lack is said before any work
import torch

from batch.errors import InternalError
from trainer.model import PAD_ID, GPT2Classifier

OPSET = 20  # the first with Gelu as one operator
INPUT, OUTPUT = "input_ids", "logits"


def export_onnx(model: GPT2Classifier, max_length: int, path: Path) -> None:
    """Trace ``model`` and write ``path``; its input is ``(B, T)`` int64, output ``(B, K)`` float32.

    The batch axis is free. The sequence axis is ``max_length`` where the model
    is tied to its padding, else it is free. The file is checked by onnx before this returns.

    Raises:
        InternalError: torch or onnx could not make a valid graph.
    """
    fixed = model.config.is_fixed_length
    width = max_length if fixed else min(max(2, max_length), model.config.context_length)
    ids = torch.full((3, width), PAD_ID)  # sizes above 1, which tracing would take as constants
    ids[0] = 0
    ids[1, : width // 2] = 1
    free = torch.export.Dim.DYNAMIC
    axes = {0: free} if fixed else {0: free, 1: free}
    try:
        with _quiet():
            torch.onnx.export(
                model.eval(),
                (ids,),
                path,
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=(axes,),
                external_data=False,
                optimize=True,
                verbose=False,
            )
        onnx.checker.check_model(str(path))
    except Exception as error:  # the exporter raises a zoo of classes
        raise InternalError(
            f"the export failed: {type(error).__name__}: {str(error).splitlines()[0]}"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its stages and warns about packages that we do not use."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
