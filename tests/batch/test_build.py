"""``make build``: a wheel and a source archive that work where nothing else of ours is."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from batch.version import __version__

pytest.importorskip("build", reason="make build needs the dev extra")
pytestmark = pytest.mark.slow

NEEDED = (
    "click", "cloup", "numpy", "tiktoken", "regex", "tqdm", "onnxruntime", "flatbuffers",
    "protobuf",
)  # fmt: skip
if sys.version_info < (3, 12):
    NEEDED += ("typing_extensions",)
if sys.version_info < (3, 14):
    NEEDED += ("backports.zstd",)


@pytest.fixture(scope="module")
def dist(root: Path, tmp_path_factory) -> Path:
    """What ``python -m build`` makes of the files that git has: the wheel out of the archive."""
    if not (root / ".git").exists():
        pytest.skip("this is no clone: git says which files are ours")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, capture_output=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (root / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, source / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    return dist / f"spam_batch-{__version__}-py3-none-any.whl"


def test_what_is_built(dist, wheel, root):
    archive = dist / f"spam_batch-{__version__}.tar.gz"
    assert sorted(dist.iterdir()) == [wheel, archive]
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    packages = ("trainer", "exporter", "batch")
    code = {
        str(path.relative_to(root)) for name in packages for path in (root / name).rglob("*.py")
    }
    assert names == {*code, "trainer/data/notices.csv", "trainer/model/gpt2-mini.safetensors"}
    with tarfile.open(archive) as file:
        inner = {name.partition("/")[2] for name in file.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", *names} <= inner


def test_the_wheel_alone_labels_without_a_network(wheel, root, bundle, tmp_path):
    """In an environment that has the wheel and what ``[cpu]`` asks for, and no path to here."""
    environment, python = tmp_path / "env", tmp_path / "env" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    subprocess.run([*pip, "--no-index", "--no-deps", wheel], check=True, timeout=120)
    (site,) = environment.glob("lib/python*/site-packages")
    for name in NEEDED:  # those of this environment; fetched, they would take minutes
        link_files(name, site)

    copied = shutil.copytree(bundle, tmp_path / "bundle")
    inbox = shutil.copy(root / "examples" / "inbox.csv", tmp_path)
    command = [environment / "bin" / "spam-batch", "classify", inbox, "--out", "labeled.csv"]
    tried = shutil.which("unshare") and subprocess.run(["unshare", "-rn", "true"]).returncode == 0
    done = subprocess.run(
        [*(["unshare", "-rn"] if tried else []), *command, "--bundle", copied],
        cwd=tmp_path, env={"PATH": os.defpath}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("150 records in, 150 rows out: ")
    helped = [environment / "bin" / "spam-batch", "classify", "--help"]
    shown = subprocess.run(helped, env={"PATH": os.defpath}, capture_output=True, check=True)
    assert b"\nWhat to read:\n" in shown.stdout
    assert (tmp_path / "labeled.csv").read_bytes().startswith(b"id,expected,text,label,score\n")
    found = subprocess.run(
        [python, "-c", "import batch; print(batch.__file__)"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == str(site / "batch" / "__init__.py")


def link_files(distribution: str, site: Path) -> None:
    """Link an installed distribution's top-level files and folders into another environment."""
    try:
        found = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        if distribution == "onnxruntime":
            return link_files("onnxruntime-gpu", site)
        raise
    for name in {file.parts[0] for file in found.files if file.parts[0] not in ("..", "/")}:
        if not (site / name).exists():
            (site / name).symlink_to(found.locate_file(name))
