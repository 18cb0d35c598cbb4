"""CUDA's libraries: loaded before the session, and a clash of versions in one sentence."""

import tomllib
from pathlib import Path
from types import SimpleNamespace

import onnxruntime
import pytest
from packaging.requirements import Requirement

from batch.errors import BundleError
from batch.model import cuda
from batch.model.inference import InferenceSession

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def no_libraries(monkeypatch):
    """No library can be loaded, as where torch has not brought CUDA's."""

    def refuse(name: str):
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(cuda.ctypes, "CDLL", refuse)
    monkeypatch.setattr(cuda, "_nvidia_folders", lambda: [])


def test_libraries_are_loaded_before_the_session(fake_cuda, make_graph, monkeypatch, capfd):
    fake = fake_cuda()
    calls = []
    make = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "preload_dlls",
        lambda: (calls.append("preload"), print("Failed to load libcudnn.so.9")),
    )
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda *args, **options: (calls.append("session"), make(*args, **options))[1],
    )
    assert InferenceSession(make_graph(), "cuda", 1).device == "cuda"
    assert calls == ["preload", "session"]
    assert len(fake.options) == 1
    assert capfd.readouterr() == ("", "")  # rows may go to standard output
    assert InferenceSession(make_graph(), "cpu", 1).device == "cpu"
    assert calls == ["preload", "session", "session"]


def test_an_onnxruntime_that_cannot_preload(fake_cuda, make_graph, monkeypatch):
    fake_cuda()
    monkeypatch.delattr(onnxruntime, "preload_dlls")
    assert InferenceSession(make_graph(), "cuda", 1).device == "cuda"


@pytest.mark.parametrize(
    ("missing", "there", "advice"),
    [
        ("libcublasLt.so.13", "libcublasLt.so.12", "'onnxruntime-gpu[cuda,cudnn]>=1.21,<1.27'"),
        ("libcublasLt.so.12", "libcublasLt.so.13", "'onnxruntime-gpu[cuda,cudnn]>=1.27'"),
        ("libcudnn.so.9", "libcudnn.so.8", "'spam-batch[gpu]'"),
    ],
)
def test_another_version_is_there(no_libraries, monkeypatch, tmp_path, missing, there, advice):
    folder = tmp_path / "some_library" / "lib"
    folder.mkdir(parents=True)
    (folder / there).touch()
    monkeypatch.setattr(cuda, "_nvidia_folders", lambda: [str(tmp_path)])
    monkeypatch.setattr(cuda, "provider_path", lambda: Path(missing))
    assert cuda.explain_not_loaded() == (
        f"the provider could not be loaded because {missing} is missing, but {there} is there;"
        f" type: pip install {advice}"
    )
    Requirement(advice.strip("'"))


def test_the_numbers_of_other_libraries_are_not_cudas(no_libraries, monkeypatch, tmp_path):
    """libcufft.so.12 is of CUDA 13, and libcufft.so.11 of CUDA 12."""
    (tmp_path / "libcufft.so.12").touch()
    monkeypatch.setattr(cuda, "_nvidia_folders", lambda: [str(tmp_path)])
    monkeypatch.setattr(cuda, "provider_path", lambda: Path("libcufft.so.11"))
    assert "but libcufft" not in cuda.explain_not_loaded()


@pytest.mark.parametrize("missing", ["libcufft.so.12", "libcublasLt.so.13", "libodd.so"])
def test_no_other_version_is_there(no_libraries, monkeypatch, missing):
    monkeypatch.setattr(cuda, "provider_path", lambda: Path(missing))
    assert cuda.explain_not_loaded() == (
        f"the provider could not be loaded because {missing} is missing; type: pip install"
        " 'spam-batch[gpu]', which brings CUDA and cuDNN, or add the folders of those that it"
        " was built for to LD_LIBRARY_PATH"
    )


def test_no_driver(no_libraries, monkeypatch):
    monkeypatch.setattr(cuda, "DRIVER", "libnone_such.so.1")
    monkeypatch.setattr(cuda, "provider_path", lambda: Path("libnone_such.so.1"))
    assert cuda.explain_not_loaded() == (
        "the provider could not be loaded: no NVIDIA driver was found (libnone_such.so.1);"
        " install the driver"
    )


@pytest.mark.parametrize(
    ("driver", "built_for", "said"),
    [
        (
            "12.8",
            "13.0",
            "NVIDIA driver for CUDA 12.8, GPUs: 1, but onnxruntime needs one for CUDA 13;"
            " type: pip install 'onnxruntime-gpu[cuda,cudnn]>=1.21,<1.27', or update the driver",
        ),
        (
            "11.4",
            "12.2",
            "NVIDIA driver for CUDA 11.4, GPUs: 1, but onnxruntime needs one for CUDA 12;"
            " update the driver",
        ),
        ("13.1", "13.0", "CUDA failure 35"),
        ("13.0", "", "CUDA failure 35"),
    ],
)
def test_a_driver_that_is_too_old(fake_cuda, make_graph, monkeypatch, driver, built_for, said):
    fake_cuda(RuntimeError("CUDA failure 35"))
    monkeypatch.setattr(onnxruntime, "cuda_version", built_for, raising=False)
    clause = f"NVIDIA driver for CUDA {driver}, GPUs: 1"
    monkeypatch.setattr(cuda, "describe_driver", lambda: (1, clause))
    with pytest.raises(BundleError) as error:
        InferenceSession(make_graph(), "cuda", 1)
    assert str(error.value) == f"onnxruntime cannot load the model on cuda: {said}"


def test_nvidias_folders(monkeypatch):
    spec = SimpleNamespace(submodule_search_locations=["/a/nvidia", "/b/nvidia"])
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: spec)
    assert cuda._nvidia_folders() == ["/a/nvidia", "/b/nvidia"]
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: None)
    assert cuda._nvidia_folders() == []


def test_what_the_extras_bring():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = extras["project"]["optional-dependencies"]
    (gpu,), (system,) = map(Requirement, extras["gpu"]), map(Requirement, extras["gpu-system"])
    assert (gpu.name, gpu.extras) == ("onnxruntime-gpu", {"cuda", "cudnn"})
    assert (system.name, system.extras) == ("onnxruntime-gpu", set())
    assert gpu.specifier == system.specifier
