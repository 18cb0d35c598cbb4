"""The processor as /proc/cpuinfo has it, and where there is none."""

from importlib.metadata import version
from pathlib import Path

import pytest

from exporter.machine import describe_machine

INTEL = """processor\t: 0
model name\t: Xeon\tof : some kind
flags\t\t: fpu avx avx2 fma avx512f avx512_vnni

processor\t: 1
model name\t: Xeon\tof : some kind
flags\t\t: fpu avx avx2 fma avx512f avx512_vnni
"""
OLD = "model name\t: EPYC\nflags\t\t: fpu fma avx2 sse\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp\n"


@pytest.mark.parametrize(
    ("text", "flags", "vnni"),
    [
        (INTEL, ["avx", "avx2", "fma", "avx512f", "avx512_vnni"], True),
        (OLD, ["avx2", "fma"], False),
        (ARM, ["asimd", "asimddp"], True),
        ("", [], False),
    ],
)
def test_flags(monkeypatch, text: str, flags: list[str], vnni: bool) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
    found = describe_machine()
    assert (found["flags"], found["vnni"]) == (flags, vnni)
    if text == INTEL:
        assert found["cpu"] == "Xeon\tof : some kind"


def test_not_linux(monkeypatch) -> None:
    def fail(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", fail)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    found = describe_machine()
    assert (found["cpu"], found["flags"], found["vnni"]) == ("arm64", [], False)
    assert found["versions"]["torch"] == version("torch")
    assert set(found["versions"]) >= {"python", "spam-batch", "onnx", "onnxruntime"}
