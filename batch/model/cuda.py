"""Load CUDA's libraries, and say why they do not work, in the same words in every command."""

import contextlib
import ctypes
import importlib.util
import io
import re
from importlib import metadata
from pathlib import Path
from types import ModuleType

WHEELS = ("onnxruntime", "onnxruntime-gpu")  # both install into one folder: never have both
PROVIDER_LIBRARY = "libonnxruntime_providers_cuda.so"
DRIVER = "libcuda.so.1"
_LIBRARY = re.compile(r"/\S*/(?:libcudart|libcublas|libcudnn)\.so\S*")
_MISSING = re.compile(r"(?P<stem>\S+\.so)\.(?P<major>\d+)")
# The wheels of onnxruntime-gpu on PyPI, by the major version of CUDA that they are built for.
_WHEELS_FOR = {
    12: "'onnxruntime-gpu[cuda,cudnn]>=1.21,<1.27'",
    13: "'onnxruntime-gpu[cuda,cudnn]>=1.27'",
}


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


def preload(ort: ModuleType) -> None:
    """Load CUDA and cuDNN from the nvidia wheels, which torch has too, else from the system.

    The CUDA provider finds no library in a wheel by itself. onnxruntime prints what it cannot
    load on standard output, where our rows may go; :func:`explain_not_loaded` tells it instead.
    """
    if hasattr(ort, "preload_dlls"):  # since onnxruntime 1.21
        with contextlib.redirect_stdout(io.StringIO()):
            ort.preload_dlls()


def explain_not_loaded() -> str:
    """One clause: which library the installed CUDA provider cannot find, and what to type."""
    path = provider_path()
    if path is None:
        return "the provider could not be loaded (driver, CUDA or cuDNN missing)"
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        missing = str(error).partition(":")[0]
        if missing == DRIVER:
            return f"the provider could not be loaded: {describe_driver()[1]}; install the driver"
        clause = f"the provider could not be loaded because {missing} is missing"
        if clash := _find_clash(missing):
            return f"{clause}, {clash}"
        return (
            f"{clause}; type: pip install 'spam-batch[gpu]', which brings CUDA and cuDNN, or "
            "add the folders of those that it was built for to LD_LIBRARY_PATH"
        )
    return f"the provider could not be loaded: {describe_driver()[1]}"


def _find_clash(missing: str) -> str | None:
    """A clause if another major version of the library is there, such as CUDA 12 for 13."""
    found = _MISSING.fullmatch(missing)
    if found is None:
        return None
    stem, wanted = found["stem"], int(found["major"])
    others = (f"{stem}.{major}" for major in (wanted - 1, wanted + 1))
    other = next(filter(_is_there, others), None)
    if other is None:
        return None
    # cuDNN 9 goes with both versions of CUDA, so the wheel of onnxruntime may stay. Only the
    # runtime and cuBLAS have CUDA's own number: libcufft.so.12 is of CUDA 13.
    is_cudas = stem.startswith(("libcudart", "libcublas"))
    of_cuda = _WHEELS_FOR.get(int(other.rpartition(".")[2])) if is_cudas else None
    wheel = "'spam-batch[gpu]'" if stem.startswith("libcudnn") else of_cuda
    return f"but {other} is there; type: pip install {wheel}" if wheel else None


def _is_there(library: str) -> bool:
    """Whether a library is in an nvidia wheel or on the system's path."""
    folders = [Path(path) for path in _nvidia_folders()]
    if any(next(folder.glob(f"**/{library}"), None) for folder in folders):
        return True
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _nvidia_folders() -> list[str]:
    """The folders of the namespace package of NVIDIA's wheels."""
    spec = importlib.util.find_spec("nvidia")
    return list(spec.submodule_search_locations or []) if spec else []


def explain_old_driver(built_for: str) -> str | None:
    """A clause if the driver is for an older CUDA than onnxruntime's, else None.

    Args:
        built_for: CUDA's version that onnxruntime was built for, such as ``13.0``, or empty.
    """
    count, clause = describe_driver()
    driver = re.search(r"CUDA (\d+)", clause) if count else None
    wanted = int(built_for.partition(".")[0]) if built_for else 0
    if driver is None or int(driver[1]) >= wanted:
        return None
    older = _WHEELS_FOR.get(int(driver[1]))
    advice = f"; type: pip install {older}, or" if older else ";"
    return f"{clause}, but onnxruntime needs one for CUDA {wanted}{advice} update the driver"


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
