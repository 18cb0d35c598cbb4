"""The machine that a verification is valid for: processor, instructions, versions."""

import platform
from pathlib import Path

from trainer.run_folder import package_versions

# Instructions by which onnxruntime chooses its matrix kernels.
_FLAGS = (
    "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16",
    "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16",
)  # fmt: skip
_DOT_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}


def describe_machine() -> dict:
    """``cpu``, ``flags`` (the instructions that matter), ``vnni`` and ``versions``."""
    model, flags = platform.processor() or platform.machine(), set()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []  # only Linux has it
    for line in lines:
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "model name":
            model = value
        if key in ("flags", "Features"):
            flags.update(value.split())
    return {
        "cpu": model,
        "flags": [flag for flag in _FLAGS if flag in flags],
        "vnni": bool(flags & _DOT_PRODUCTS),
        "versions": package_versions("torch", "onnx", "onnxscript", "onnxruntime"),
    }
