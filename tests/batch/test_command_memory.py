"""A lack of memory is told as one, whatever library says it, with what to make smaller."""

import errno
import importlib
import re

import pytest
from click.testing import CliRunner

from batch.command import Cli
from batch.errors import InputError, InternalError, OutOfMemoryError, is_out_of_memory


def of_library(module: str, name: str, text: str, base: type = Exception) -> Exception:
    """An error of a library that is not imported here."""
    return type(name, (base,), {"__module__": module})(text)


def chained() -> Exception:
    try:
        try:
            raise MemoryError
        except MemoryError as error:
            raise InternalError("the export failed: MemoryError: ") from error
    except InternalError as error:
        return error


ORT = "onnxruntime.capi.onnxruntime_pybind11_state"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
            "memory: you tried to allocate 603979776 bytes. Error code 12 (Cannot allocate memory)"
        ),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        of_library("torch", "OutOfMemoryError", "CUDA out of memory. Tried", RuntimeError),
        of_library("torch", "AcceleratorError", "CUDA error: out of memory", RuntimeError),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
        of_library(ORT, "RuntimeException", "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : "
            "bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 8"),
        of_library(ORT, "Fail", "[ONNXRuntimeError] : 1 : FAIL : bad allocation"),
        of_library(ORT, "Fail", "[ONNXRuntimeError] : 1 : FAIL : std::bad_alloc"),
        of_library(ORT, "Fail", "CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED ; GPU=0"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        of_library("ray.exceptions", "OutOfMemoryError", "Task was killed"),
        of_library("ray.exceptions", "ActorDiedError", "(1) the process was killed by the OOM "
            "killer due to high memory usage"),
        chained(),
    ],
)  # fmt: skip
def test_out_of_memory(run_raising, error):
    """Each library has its own word for it; none is a fault of ours."""
    assert is_out_of_memory(error)
    result = run_raising(error)
    assert result.stderr == (
        "spam-batch: error: out of memory; free memory and type the same command\n"
    )
    assert result.exit_code == 71


def test_a_thread_that_cannot_be_started(run_raising):
    result = run_raising(RuntimeError("can't start new thread"))
    assert result.stderr == (
        "spam-batch: error: out of memory, or of processes (ulimit -u), so no thread can be "
        "started; free memory and type the same command\n"
    )
    assert result.exit_code == 71


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("out of memory"),  # no allocator raises it: a text that was read
        InputError("in.csv: out of memory"),
        OSError(errno.ENOSPC, "No space left on device"),
        ImportError("x.so: failed to map segment from shared object: Operation not permitted"),
        of_library(ORT, "Fail", "[ONNXRuntimeError] : 1 : FAIL : Load model failed"),
    ],
)
def test_other_errors_are_no_lack_of_memory(error):
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    ("name", "command", "advice"),
    [
        (
            "spam-train", "fit",
            "type half the --batch-size with twice the --accumulate, or a smaller --max-length "
            "or --model, and training starts over; or free memory and type the same command, "
            "which resumes from the last whole epoch",
        ),
        (
            "spam-train", "scores",
            "type half the --batch-size with twice the --accumulate, or a smaller --max-length "
            "or --model",
        ),
        (
            "spam-train", "table",
            "type --shape starter, or free memory and type the same command",
        ),
        (
            "spam-train", "sample",
            "type a smaller --model, or free memory and type the same command",
        ),
        ("spam-train", "evaluate", "free memory and type the same command"),
        (
            "spam-export", "bundle",
            "type --precision fp32, which makes no second copy of the model, or --device cpu if "
            "the GPU's memory is short; or free memory and type the same command; --out is as it "
            "was",
        ),
        (
            "spam-export", "verify",
            "type --device cpu if the GPU's memory is short, or free memory and type the same "
            "command; the bundle is as it was",
        ),
        (
            "spam-batch", "classify",
            "free memory and type the same command, which resumes the run; or type --restart "
            "with --max-record-bytes 1000000 if records are long, --device cpu if the GPU's "
            "memory is short, or --precision int8 if the bundle has it; with --engine ray, type "
            "fewer --workers",
        ),
    ],
)  # fmt: skip
def test_what_to_make_smaller(name, command, advice):
    """The options that are named exist; the command's own tests type them."""

    def fail():
        raise OutOfMemoryError("out of memory: running a batch of 8 x 120 tokens")

    group = Cli(name=name)
    group.command(command)(fail)
    result = CliRunner().invoke(group, [command])
    said = f"out of memory: running a batch of 8 x 120 tokens; {advice}"
    assert (result.exit_code, result.stderr) == (71, f"{name}: error: {said}\n")
    modules = {"spam-train": "trainer.cli", "spam-export": "exporter.cli"}
    main = importlib.import_module(modules.get(name, "batch.cli.commands")).main
    options = {text for option in main.commands[command].params for text in option.opts}
    assert set(re.findall(r"--[a-z-]+", advice)) <= options
