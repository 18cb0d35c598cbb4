"""Why CUDA does not work, in the same words for ``spam-batch classify`` and ``doctor``."""

import contextlib
import ctypes
import importlib.util
import re
from importlib import metadata
from pathlib import Path

WHEELS = ("onnxruntime", "onnxruntime-gpu")  # both install into one folder: never have both
PROVIDER_LIBRARY = "libonnxruntime_providers_cuda.so"
DRIVER = "libcuda.so.1"
_LIBRARY = re.compile(r"/\S*/(?:libcudart|libcublas|libcudnn)\.so\S*")


def installed_wheels() -> dict[str, str]:
    """The version of each installed onnxruntime wheel, by its name."""
    found = {}
    for name in WHEELS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def mend_install(extra: str) -> str:
    """The commands after which only the wheel of ``extra``, ``cpu`` or ``gpu``, is installed."""
    there = " ".join(installed_wheels())
    uninstall = f"pip uninstall {there} && " if there else ""
    return f"{uninstall}pip install 'spam-batch[{extra}]'"


def explain_no_provider(version: str) -> str:
    """One clause: the installed onnxruntime was not built for CUDA, and what to type."""
    return f"onnxruntime {version} here has no CUDA provider; type: {mend_install('gpu')}"


def explain_not_loaded() -> str:
    """One clause: which library the installed CUDA provider cannot find."""
    path = provider_path()
    if path is None:
        return "the provider could not be loaded (driver, CUDA or cuDNN missing)"
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        missing = str(error).partition(":")[0]
        return (
            f"the provider could not be loaded because {missing} is missing; install the CUDA "
            "and cuDNN versions that it was built for, and add their folders to LD_LIBRARY_PATH"
        )
    return f"the provider could not be loaded: {describe_driver()[1]}"


def provider_path() -> Path | None:
    """The CUDA provider's library, or None if the installed onnxruntime has none."""
    spec = importlib.util.find_spec("onnxruntime")
    path = Path(spec.origin).parent / "capi" / PROVIDER_LIBRARY if spec and spec.origin else None
    return path if path and path.is_file() else None


def describe_driver() -> tuple[int, str]:
    """The number of GPUs that the NVIDIA driver offers, and a clause that describes them."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return 0, f"no NVIDIA driver was found ({DRIVER})"
    version, count = ctypes.c_int(), ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    if status := driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0, f"the NVIDIA driver offers no GPU (CUDA error {status})"
    release = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return count.value, f"NVIDIA driver for CUDA {release}, GPUs: {count.value}"


def loaded_libraries() -> list[str]:
    """Paths of the CUDA and cuDNN libraries that this process has loaded."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []  # not Linux
    return sorted(set(_LIBRARY.findall(maps)))
