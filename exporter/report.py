"""The lines that an export or a verification prints: names, then shapes, then values."""

from exporter.accuracy_gate import Gate
from exporter.convert.structure import Structure
from exporter.parity import BATCH_VARIANCE, ParityCheck, Worst
from exporter.variant_check import VariantCheck

_SHOWN = 3  # rows whose label differs


def structure_lines(structure: Structure) -> list[str]:
    """Names, shapes, types, operators and opset of one file."""
    opset = ", ".join(f"{domain or 'ai.onnx'} {v}" for domain, v in structure.opset.items())
    operators = ", ".join(f"{count} {kind}" for kind, count in structure.operators.items())
    return [
        f"  graph           {', '.join(structure.inputs)} -> {', '.join(structure.outputs)}; "
        f"{structure.megabytes:,.1f} MB",
        f"  operators       opset {opset}; {structure.nodes} nodes: {operators}",
    ]


def check_lines(check: ParityCheck) -> list[str]:
    """Logits, probabilities, labels and batch variance of one variant."""
    allowed = BATCH_VARIANCE[check.device]
    differ = [f"{entry['row']} (margin {entry['margin']:.4f})" for entry in check.labels_differ]
    shown = ", ".join(differ[:_SHOWN]) + (", ..." if len(differ) > _SHOWN else "")
    return [
        f"  logits          largest difference {_place(check.logit)}, {check.logit.where}; 99 % of "
        f"the rows below {check.logit_p99:.2e}; tolerance {check.tolerance:g}",
        f"  probabilities   largest difference {_place(check.probability)}",
        f"  labels          {len(differ)} of {check.rows} differ{': ' if differ else ''}{shown}",
        f"  batch variance  {_variance(check.batch_variance)}; tolerance {allowed:g}",
        f"  runs            {'; '.join(check.batches)}",
        f"  speed           {check.rows_per_second:,.0f} rows a second in batches of "
        f"{check.batch_tokens} tokens",
    ]


def _place(worst: Worst) -> str:
    return f"{worst.value:.2e} ({worst.row})"


def _variance(worst: Worst) -> str:
    if worst.value == 0:
        return "0: every row's logits are the same bits in every batch"
    return f"{worst.value:.2e} ({worst.row}, {worst.where})"


def gate_lines(gate: Gate, kept_fp32: list[str]) -> list[str]:
    """Accuracy, recall and agreement on validation, with PyTorch's in brackets."""
    recalls = ", ".join(
        f"{label} {100 * gate.recall_ours[label]:.2f} % ({100 * theirs:.2f} %)"
        for label, theirs in gate.recall_theirs.items()
    )
    lines = [
        f"  accuracy gate   {gate.messages} validation messages, PyTorch in brackets: accuracy "
        f"{100 * gate.accuracy_ours:.2f} % ({100 * gate.accuracy_theirs:.2f} %); recall "
        f"{recalls}; same label {100 * gate.agreement:.2f} %"
    ]
    if kept_fp32:
        lines.append(f"  kept in fp32    {', '.join(kept_fp32)}")
    return lines


def variant_lines(
    verified: VariantCheck, problems: list[str], structure: Structure | None = None
) -> list[str]:
    """All lines on one variant, with its verdict and problems at the end."""
    check = verified.check
    where = f"on {check.device}, {check.rows} rows" if check else "was not run"
    lines = [f"{verified.precision} {where}"]
    if structure is not None:
        lines += structure_lines(structure)
    if check is not None:
        lines += check_lines(check)
    if verified.gate is not None:
        lines += gate_lines(verified.gate, verified.kept_fp32)
    lines.append("  passed" if not problems else "  FAILED")
    return lines + [f"    {problem}" for problem in problems]


def machine_lines(machine: dict, precisions: list[str]) -> list[str]:
    """The processor, and what its instructions mean for int8."""
    lines = [f"machine: {machine['cpu']}; {' '.join(machine['flags']) or 'flags unknown'}"]
    if "int8" in precisions and not machine["vnni"]:
        lines.append(
            "this CPU has no VNNI: it adds int8 products in 16 bits; weights have 7 bits, so the "
            "sums do not overflow and are exact; a CPU with VNNI would be faster"
        )
    return lines
