"""``spam-batch doctor``: one line a finding, what to type, and an exit status that is true."""

import hashlib
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from batch.checks import doctor
from batch.cli.commands import main
from batch.errors import BundleError
from batch.model import cuda
from batch.model.inference import PROVIDERS, usable_cpus, wanted_device
from batch.version import __version__

WHEEL = {"onnxruntime": "1.31.1"}
NO_DRIVER = "no NVIDIA driver was found (libcuda.so.1)"
NO_CUDA = (
    f"device cuda: onnxruntime {onnxruntime.__version__} here has no CUDA provider; "
    "type: pip uninstall onnxruntime && pip install 'spam-batch[gpu]'"
)
needs_no_cuda = pytest.mark.skipif(
    PROVIDERS["cuda"] in onnxruntime.get_available_providers(), reason="onnxruntime has CUDA here"
)


@pytest.fixture
def examine(invoke, monkeypatch, tmp_path):
    """Runs ``spam-batch doctor`` in an empty folder of a machine without a GPU; no benchmark."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "BENCHMARK_SECONDS", 0.0)
    monkeypatch.setattr(cuda, "installed_wheels", lambda: WHEEL)
    monkeypatch.setattr(cuda, "describe_driver", lambda: (0, NO_DRIVER))
    return lambda *args: invoke(main, "doctor", *args)


@pytest.fixture
def run_cli_without(root):
    """Runs ``spam-batch`` in a process where the package ``name`` cannot be imported."""
    script = (
        "import sys; sys.modules[sys.argv.pop(1)] = None; import batch.cli.commands as c; c.main()"
    )

    def run(name: str, *args: object) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", script, name, *map(str, args)]
        return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)

    return run


def lines_of(result, *starts: str) -> list[str]:
    return [line for line in result.stdout.splitlines() if line.startswith(starts)]


@needs_no_cuda
def test_all_is_well(examine, bundle, tmp_path):
    result = examine("--bundle", bundle)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert all(line.startswith("ok       ") for line in lines)
    found = [line.removeprefix("ok       ") for line in lines]
    files = sum(path.stat().st_size for path in bundle.iterdir() if path.name != "bundle.json")
    assert found[0].startswith("Python 3.")
    assert found[1].startswith(f"spam-batch {__version__}, click {metadata.version('click')}, ")
    assert found[2:5] == [
        "onnxruntime 1.31.1", NO_DRIVER, "CPUExecutionProvider loads and computes correctly",
    ]  # fmt: skip
    assert found[5].startswith(f"threads: {usable_cpus()}; this process may use ")
    assert found[6].startswith(
        f"bundle {bundle}: 4 files, {files / 1e6:,.1f} MB, all hashes match; digest "
    )
    assert found[7:9] == [
        f"bundle {bundle}: fp32 was verified",
        f"bundle {bundle}: golden messages get the same logits as at export, fp32 on cpu",
    ]
    assert found[9].startswith("speed: ")
    assert found[9].endswith(
        f" rows a second, messages of 24 tokens, in fp32 on cpu (threads: {usable_cpus()})"
    )
    assert found[10].startswith("disk: ")
    assert found[10].endswith(f" GB free in {tmp_path}")
    assert len(found) == 11


def test_the_probe_is_a_graph_of_one_product():
    model = onnx.load_from_string(doctor.PROBE)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["MatMul"]


def test_a_probe_that_computes_something_else(examine, bundle, monkeypatch):
    monkeypatch.setattr("batch.model.inference.InferenceSession.run", lambda *_: np.zeros((2, 2)))
    result = examine("--bundle", bundle, "--device", "cpu")
    assert lines_of(result, "problem")[0] == (
        "problem  onnxruntime computes a wrong product on cpu: [[0.0, 0.0], [0.0, 0.0]]"
    )
    assert result.exit_code == 78


def test_no_bundle(examine):
    result = examine("--device", "cpu")
    assert lines_of(result, "problem") == [
        "problem  models/spam: no such bundle; copy one there, or make one with: "
        "spam-train fit && spam-export bundle --out models/spam"
    ]
    assert lines_of(result, "ok       disk: ")
    assert result.stderr == "spam-batch: error: 1 problem; a run would not work\n"
    assert result.exit_code == 78


def test_a_bundle_with_a_changed_byte(examine, bundle, tmp_path):
    folder = shutil.copytree(bundle, tmp_path / "changed\nbundle")
    data = bytearray((folder / "model.onnx").read_bytes())
    data[100] ^= 1
    (folder / "model.onnx").write_bytes(data)
    result = examine("--bundle", folder, "--device", "cpu")
    (line,) = lines_of(result, "problem")
    assert line.startswith(f"problem  {tmp_path}/changed\\nbundle/model.onnx: SHA-256 is ")
    assert result.exit_code == 78


def test_a_changed_variant_that_a_run_would_not_take(examine, make_bundle, make_graph):
    folder = make_bundle(
        files={"model.int8.onnx": make_graph()},
        variants={"fp32": "model.onnx", "int8": "model.int8.onnx"},
    )
    path = folder / "model.int8.onnx"
    said = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes()[::-1])
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    wanted = [
        f"{path}: SHA-256 is {found}, bundle.json says {said}; a run in fp32 does not read it",
        f"{folder}: int8 was not verified; run spam-export verify, or give --allow-unverified "
        "(allow_unverified=True)",
    ]
    result = examine("--bundle", folder, "--device", "cpu")
    assert lines_of(result, "warning", "problem") == [f"warning  {line}" for line in wanted]
    assert (result.exit_code, result.stderr) == (0, "")
    path.unlink()
    wanted[0] = f"{path}: is missing; a run in fp32 does not read it"
    result = examine("--bundle", folder, "--device", "cpu")
    assert lines_of(result, "warning", "problem") == [f"warning  {line}" for line in wanted]
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_bundle_that_was_not_verified(examine, make_bundle):
    folder = make_bundle(files={"verify.json": None}, training={"data": {"is_partial": True}})
    result = examine("--bundle", folder, "--device", "cpu")
    hint = "run spam-export verify, or give --allow-unverified (allow_unverified=True)"
    said = f"{folder}: was never verified; {hint}"
    assert lines_of(result, "warning", "problem") == [
        f"warning  {said}",
        f"warning  bundle {folder}: trained on an incomplete copy of its data",
        f"problem  {said}",
    ]
    assert result.exit_code == 78


def test_both_wheels(examine, bundle, monkeypatch):
    wheels = {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.30.0"}
    monkeypatch.setattr(cuda, "installed_wheels", lambda: wheels)
    result = examine("--bundle", bundle, "--device", "cpu")
    assert lines_of(result, "warning", "problem") == [
        "warning  onnxruntime 1.31.1 and onnxruntime-gpu 1.30.0 are both installed, and each has "
        "overwritten files of the other; type: pip uninstall onnxruntime onnxruntime-gpu && "
        "pip install 'spam-batch[gpu]' (or 'spam-batch[cpu]')"
    ]
    assert result.exit_code == 0


def test_wheels_that_are_installed(monkeypatch):
    def version(name):
        if name == "onnxruntime-gpu":
            raise metadata.PackageNotFoundError
        return "1.2.3"

    monkeypatch.setattr(metadata, "version", version)
    assert cuda.installed_wheels() == {"onnxruntime": "1.2.3"}
    monkeypatch.setattr(cuda, "WHEELS", ())
    assert cuda.mend_install("cpu") == "pip install 'spam-batch[cpu]'"


def test_no_onnxruntime(examine, bundle, monkeypatch):
    monkeypatch.setattr(cuda, "installed_wheels", dict)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = examine("--bundle", bundle, "--device", "cpu")
    said = (
        "problem  onnxruntime is not installed; type: pip install 'spam-batch[cpu]', "
        "or 'spam-batch[gpu]' for an NVIDIA GPU"
    )
    assert lines_of(result, "problem") == [said, said]
    assert result.stderr == "spam-batch: error: 2 problems; a run would not work\n"


def test_a_package_that_is_missing(examine, bundle, monkeypatch):
    monkeypatch.setitem(doctor.PACKAGES, "none_such", "none-such")
    result = examine("--bundle", bundle, "--device", "cpu")
    assert lines_of(result, "problem") == [
        "problem  none-such is not installed, or broken; "
        "type: pip install --force-reinstall none-such"
    ]


@pytest.mark.parametrize("name", ["numpy", "tiktoken"])
def test_a_package_without_which_nothing_can_be_tried(run_cli_without, bundle, name):
    done = run_cli_without(name, "doctor", "--bundle", bundle, "--device", "cpu")
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.startswith("ok ")] == [
        f"problem  {name} is not installed, or broken; type: pip install --force-reinstall {name}",
        f"problem  the remaining checks cannot run: {name} cannot be imported",
    ]
    assert lines[-1].startswith("ok       disk: ")
    assert done.stderr == "spam-batch: error: 2 problems; a run would not work\n"
    assert done.returncode == 78


@needs_no_cuda
def test_cuda_where_there_is_none(examine, bundle):
    with pytest.raises(BundleError) as error:
        wanted_device("cuda")  # what spam-batch classify says
    result = examine("--bundle", bundle, "--device", "cuda")
    assert lines_of(result, "problem") == [
        f"problem  {NO_DRIVER}; type: nvidia-smi, or --device cpu",
        f"problem  {error.value}",
    ]
    assert str(error.value) == NO_CUDA
    assert lines_of(result, "ok       speed: ")[0].endswith(f"(threads: {usable_cpus()})")
    assert result.exit_code == 78


def test_a_gpu_that_stands_idle(examine, bundle, monkeypatch):
    clause = "NVIDIA driver for CUDA 13.0, GPUs: 1"
    monkeypatch.setattr(cuda, "describe_driver", lambda: (1, clause))
    result = examine("--bundle", bundle)
    assert lines_of(result, "warning", "problem") == [
        f"warning  {clause}, and this onnxruntime cannot use one; "
        "type: pip uninstall onnxruntime && pip install 'spam-batch[gpu]'"
    ]
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("device", "state", "note"),
    [("cuda", "problem", ""), ("auto", "warning", "; --device auto uses the CPU, with a warning")],
)
def test_a_provider_whose_libraries_are_missing(
    examine, bundle, monkeypatch, tmp_path, device, state, note
):
    """As with onnxruntime-gpu on a machine without CUDA."""
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession",
        lambda model, options, **_: real(model, options, providers=[PROVIDERS["cpu"]]),
    )  # fmt: skip
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*PROVIDERS.values()])
    monkeypatch.setattr(cuda, "installed_wheels", lambda: {"onnxruntime-gpu": "1.31.1"})
    monkeypatch.setattr(cuda, "provider_path", lambda: Path("libcublasLt.so.0"))
    result = examine("--bundle", bundle, "--device", device)
    said = (
        "onnxruntime cannot load the model on cuda: the provider could not be loaded "
        "because libcublasLt.so.0 is missing; type: pip install 'spam-batch[gpu]', which brings "
        "CUDA and cuDNN, or add the folders of those that it was built for to LD_LIBRARY_PATH"
    )
    assert f"{state:8} {said}{note}" in result.stdout.splitlines()
    assert result.exit_code == (78 if state == "problem" else 0)


def test_the_libraries_that_were_taken_are_named(examine, bundle, fake_cuda, monkeypatch):
    fake_cuda()
    taken = ["/wheels/nvidia/cu13/lib/libcudart.so.13", "/wheels/nvidia/cudnn/lib/libcudnn.so.9"]
    monkeypatch.setattr(cuda, "loaded_libraries", lambda: taken)
    assert lines_of(examine("--bundle", bundle), "ok       CUDA") == [
        f"ok       CUDAExecutionProvider loads and computes correctly; {', '.join(taken)}"
    ]


def test_a_provider_that_is_whole_without_a_driver(monkeypatch):
    monkeypatch.setattr(cuda, "describe_driver", lambda: (0, NO_DRIVER))
    monkeypatch.setattr(cuda, "provider_path", lambda: None)
    default = "the provider could not be loaded (driver, CUDA or cuDNN missing)"
    assert cuda.explain_not_loaded() == default
    monkeypatch.setattr(cuda, "provider_path", lambda: Path("libc.so.6"))
    assert cuda.explain_not_loaded() == f"the provider could not be loaded: {NO_DRIVER}"


class FakeDriver:
    def __init__(self, status: int):
        self.status = status

    def cuDriverGetVersion(self, version):
        version._obj.value = 12080

    def cuInit(self, _):
        return self.status

    def cuDeviceGetCount(self, count):
        count._obj.value = 2
        return 0


def test_the_driver(monkeypatch):
    monkeypatch.setattr(cuda, "DRIVER", "libnone_such.so.1")
    assert cuda.describe_driver() == (0, "no NVIDIA driver was found (libnone_such.so.1)")
    monkeypatch.setattr(cuda.ctypes, "CDLL", lambda _: FakeDriver(0))
    assert cuda.describe_driver() == (2, "NVIDIA driver for CUDA 12.8, GPUs: 2")
    monkeypatch.setattr(cuda.ctypes, "CDLL", lambda _: FakeDriver(100))
    assert cuda.describe_driver() == (0, "the NVIDIA driver offers no GPU (CUDA error 100)")


def test_libraries_that_are_loaded(monkeypatch):
    maps = "7f00 r-xp 00 08:01 12  /usr/lib/libcudnn.so.9\n" * 2 + "7f01 r /opt/libc.so.6\n"
    monkeypatch.setattr(cuda.Path, "read_text", lambda *_, **__: maps)
    assert cuda.loaded_libraries() == ["/usr/lib/libcudnn.so.9"]


def test_threads_that_a_quota_cuts(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(6))
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("batch.model.inference.usable_cpus", lambda: 2)
    assert doctor._check_threads().text == (
        "threads: 2; this process may use 6 of 8 processors, and its cgroup's quota allows 2"
    )


def test_little_space(examine, bundle, monkeypatch, tmp_path):
    usage = shutil._ntuple_diskusage(10**12, 10**12, 10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    result = examine("--bundle", bundle, "--device", "cpu")
    assert lines_of(result, "warning") == [
        f"warning  disk: 0.1 GB free in {tmp_path}; an output is larger than its input: make room"
    ]
    monkeypatch.setattr("os.access", lambda *_: False)
    result = examine("--bundle", bundle, "--device", "cpu")
    assert lines_of(result, "warning") == [
        f"warning  disk: 0.1 GB free in {tmp_path}, which you cannot write to; "
        "give an --out in another folder"
    ]
