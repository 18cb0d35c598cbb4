"""The lines that are printed, whole."""

from dataclasses import replace

from exporter.accuracy_gate import Gate
from exporter.convert.structure import Structure
from exporter.parity import ParityCheck, Worst
from exporter.report import machine_lines, variant_lines
from exporter.variant_check import VariantCheck

CHECK = ParityCheck(
    precision="int8",
    device="cpu",
    rows=1234,
    batches=["1 row, own width", "64 rows, own width"],
    tolerance=0.25,
    logit=Worst(0.0123, "test message 7", [1.0], [1.0123], "64 rows, own width"),
    logit_p99=0.00456,
    probability=Worst(0.00321, "validation message 2"),
    labels_differ=[],
    batch_variance=Worst(0.0, "test message 1", where="1 row, own width"),
    batch_tokens=512,
    rows_per_second=2345.6,
)
GATE = Gate(149, 0.97, 0.98, {"ham": 0.99, "spam": 0.95}, {"ham": 0.99, "spam": 0.96}, 0.993)
STRUCTURE = Structure(
    inputs=["input_ids (B, T) int64"],
    outputs=["logits (B, 2) float"],
    opset={"": 23, "com.example": 1},
    nodes=5,
    operators={"MatMul": 3, "Add": 2},
    megabytes=1234.5,
    problems=[],
)


def test_everything() -> None:
    assert variant_lines(VariantCheck("int8", CHECK, GATE, ["h.0.mlp.c_fc"]), [], STRUCTURE) == [
        "int8 on cpu, 1234 rows",
        "  graph           input_ids (B, T) int64 -> logits (B, 2) float; 1,234.5 MB",
        "  operators       opset ai.onnx 23, com.example 1; 5 nodes: 3 MatMul, 2 Add",
        "  logits          largest difference 1.23e-02 (test message 7), 64 rows, own width; 99 % "
        "of the rows below 4.56e-03; tolerance 0.25",
        "  probabilities   largest difference 3.21e-03 (validation message 2)",
        "  labels          0 of 1234 differ",
        "  batch variance  0: every row's logits are the same bits in every batch; tolerance 0",
        "  runs            1 row, own width; 64 rows, own width",
        "  speed           2,346 rows a second in batches of 512 tokens",
        "  accuracy gate   149 validation messages, PyTorch in brackets: accuracy 97.00 % "
        "(98.00 %); recall ham 99.00 % (99.00 %), spam 95.00 % (96.00 %); same label 99.30 %",
        "  kept in fp32    h.0.mlp.c_fc",
        "  passed",
    ]


def test_what_differs_and_fails() -> None:
    differ = [{"row": f"test message {n}", "margin": n / 100} for n in range(1, 5)]
    check = replace(
        CHECK,
        labels_differ=differ,
        batch_variance=Worst(0.08, "test message 3", where="7 rows, own width"),
    )
    lines = variant_lines(VariantCheck("fp32", check, None, []), ["one thing", "another"])
    assert lines[0] == "fp32 on cpu, 1234 rows"
    assert lines[3:5] == [
        "  labels          4 of 1234 differ: test message 1 (margin 0.0100), test message 2 "
        "(margin 0.0200), test message 3 (margin 0.0300), ...",
        "  batch variance  8.00e-02 (test message 3, 7 rows, own width); tolerance 0",
    ]
    assert lines[-3:] == ["  FAILED", "    one thing", "    another"]
    assert not any("gate" in line or "kept" in line for line in lines)


def test_a_file_that_was_not_run() -> None:
    assert variant_lines(VariantCheck("bf16", None, None, []), ["not here"]) == [
        "bf16 was not run",
        "  FAILED",
        "    not here",
    ]


def test_machine() -> None:
    machine = {"cpu": "EPYC", "flags": ["avx2", "fma"], "vnni": False}
    first = "machine: EPYC; avx2 fma"
    assert machine_lines(machine, ["fp32"]) == [first]
    assert machine_lines(machine, ["fp32", "int8"]) == [
        first,
        "this CPU has no VNNI: it adds int8 products in 16 bits; weights have 7 bits, so the sums "
        "do not overflow and are exact; a CPU with VNNI would be faster",
    ]
    assert machine_lines(machine | {"vnni": True}, ["int8"]) == [first]
    assert machine_lines(machine | {"flags": []}, []) == ["machine: EPYC; flags unknown"]
