"""Run the exported graph with onnxruntime."""

import os
from pathlib import Path

import numpy as np

from batch.errors import (
    BundleError,
    InternalError,
    OutOfMemoryError,
    UsageError,
    is_out_of_memory,
)
from batch.model.batching import Shapes
from batch.model.cgroup import find_cpu_quota
from batch.model.cuda import explain_no_provider, explain_not_loaded, explain_old_driver, preload

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# TF32 rounds the factors of a matrix product to 10 bits. It is off, so that fp32 means fp32.
PROVIDER_OPTIONS: dict[str, dict[str, str]] = {"cpu": {}, "cuda": {"use_tf32": "0"}}
_TENSORS_IN = "session.model_external_initializers_file_folder_path"
DEVICES = ("auto", *PROVIDERS)
# Threads of a model whose products are too short to share: on two cores, two threads took 1.1
# times as long as one, and one leaves a core to reading and tokenizing (docs/measurements.md).
SHORT_THREADS = {"starter": 1}


def usable_cpus() -> int:
    """Processors that this process may use: by its affinity and by the quotas of its cgroups."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        count = os.cpu_count() or 1
    return min(count, find_cpu_quota() or count)


def _onnxruntime():
    """Import onnxruntime.

    Raises:
        BundleError: it is not installed.
    """
    # Otherwise it collects usage data in the home folder and sends it.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError:
        raise BundleError(
            "onnxruntime is not installed; type: pip install 'spam-batch[cpu]', "
            "or 'spam-batch[gpu]' for an NVIDIA GPU"
        ) from None
    return onnxruntime


def wanted_device(device: str) -> str:
    """``cpu`` or ``cuda``. ``auto`` is ``cuda`` if the installed onnxruntime supports it.

    Raises:
        UsageError: there is no such device.
        BundleError: the device is ``cuda`` and the installed onnxruntime does not support it.
    """
    if device not in DEVICES:
        raise UsageError(f"device is {device!r}; choose from {', '.join(DEVICES)}")
    ort = _onnxruntime()
    has_cuda = PROVIDERS["cuda"] in ort.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise BundleError(f"device cuda: {explain_no_provider(ort.__version__)}")
    return "cuda" if device != "cpu" and has_cuda else "cpu"


class InferenceSession:
    """One loaded graph on one device.

    Attributes:
        device: ``cpu`` or ``cuda``, the one that runs.
        note: a warning for the user, such as a GPU that ``auto`` could not use; or None.
        shapes: batches are padded to these; None: batches run as they are.
    """

    def __init__(
        self,
        model: bytes,
        device: str = "auto",
        threads: int | None = None,
        tensors_in: Path | None = None,
        shapes: Shapes | None = None,
    ):
        """
        Args:
            tensors_in: folder with the file that holds a large model's tensors. The file is
                mapped into memory, so the caller must have checked it.
            shapes: shapes of the batches on a GPU.

        Raises:
            BundleError: onnxruntime is missing, the device does not work, or the graph cannot
                be loaded.
            OutOfMemoryError: the model needs more memory than there is.
        """
        ort = _onnxruntime()
        ort.set_default_logger_severity(4)  # or cron would mail its warnings
        self.version = ort.__version__
        self.note: str | None = None
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads or usable_cpus()
        options.inter_op_num_threads = 1
        # Otherwise idle threads spin, while other threads tokenize, read and write.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if tensors_in:
            options.add_session_config_entry(_TENSORS_IN, str(tensors_in.resolve()))
        wanted = wanted_device(device)
        try:
            self._session = self._create(ort, model, wanted, options)
        except (BundleError, OutOfMemoryError) as error:
            if wanted == device or wanted == "cpu":
                raise
            self.note = f"{error}; running on the CPU"
            wanted = "cpu"
            self._session = self._create(ort, model, wanted, options)
        cpus = usable_cpus()
        if wanted == "cpu" and threads and threads > cpus and self.note is None:
            self.note = f"more threads ({threads}) than usable CPUs ({cpus}), which is slower"
        self.device = wanted
        self.shapes = shapes if wanted == "cuda" else None
        self.threads = options.intra_op_num_threads
        self._input = self._session.get_inputs()[0].name

    @staticmethod
    def _create(ort, model: bytes, device: str, options):
        names = [device] if device == "cpu" else [device, "cpu"]
        on = "" if device == "cpu" else f" on {device}"
        if device == "cuda":
            preload(ort)
        try:
            session = ort.InferenceSession(
                model,
                options,
                providers=[PROVIDERS[name] for name in names],
                provider_options=[PROVIDER_OPTIONS[name] for name in names],
                enable_fallback=0,  # a fallback prints to standard output and changes the device
            )
        except Exception as error:  # onnxruntime raises its own classes, made in C++
            if is_out_of_memory(error):
                raise OutOfMemoryError(f"out of memory: loading the model{on}") from None
            old = device == "cuda" and explain_old_driver(getattr(ort, "cuda_version", ""))
            reason = old or _first_line(error)
            raise BundleError(f"onnxruntime cannot load the model{on}: {reason}") from None
        if PROVIDERS[device] not in session.get_providers():
            raise BundleError(f"onnxruntime cannot load the model{on}: {explain_not_loaded()}")
        return session

    def run(self, ids: np.ndarray, check_finite: bool = True) -> np.ndarray:
        """Logits of one padded batch: ``(B, T)`` int64 -> ``(B, K)`` float32.

        Raises:
            InternalError: onnxruntime failed, or a logit is not a finite number.
            OutOfMemoryError: the batch needs more memory than there is.
        """
        rows = len(ids)
        if self.shapes:
            ids = self.shapes.fit(ids)
        try:
            logits = self._session.run(None, {self._input: ids})[0][:rows]
        except Exception as error:
            if is_out_of_memory(error):
                size = f"{ids.shape[0]:,} x {ids.shape[1]:,} tokens"
                raise OutOfMemoryError(f"out of memory: running a batch of {size}") from None
            raise InternalError(f"onnxruntime failed on a batch: {_first_line(error)}") from None
        if check_finite and not np.isfinite(logits).all():
            raise InternalError("the model gave a logit that is not a finite number")
        return logits


def _first_line(error: Exception) -> str:
    """The first line of the error's message, or the name of its class if there is none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
