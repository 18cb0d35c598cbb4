"""requirements.txt, the Dockerfile and the version agree with what `make build` makes."""

import fnmatch
import re
import shlex
import tomllib
from pathlib import Path

from batch.version import __version__


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(path: Path) -> dict[str, tuple[str, str, int]]:
    """Name -> version, marker and number of hashes."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            pin, *rest = line.split(";", 1)
            name, version = pin.split()[0].split("==")
            marker = rest[0].split("--hash")[0].strip() if rest else ""
            found[canonical(name)] = version, marker, line.count("--hash=sha256:")
    return found


def test_requirements_are_the_constraints_with_hashes(root: Path) -> None:
    pins, constraints = read_pins(root / "requirements.txt"), read_pins(root / "constraints.txt")
    assert [name for name, (_, _, hashes) in pins.items() if not hashes] == []
    others = {name for name, (version, _, _) in pins.items()
              if name not in constraints or constraints[name][0] != version}  # fmt: skip
    # What only Windows needs was not tested here.
    assert all("win32" in pins[name][1] for name in others), others


def test_requirements_have_all_that_labelling_needs(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["cpu"], *extras["arrow"]]
    names = {canonical(re.match(r"[\w.-]+", text)[0]) for text in needed}
    pins = read_pins(root / "requirements.txt")
    assert names - pins.keys() == set()
    assert not {"torch", "pandas", "transformers", "cleanlab", "tensorboard"} & pins.keys()


def test_the_dockerfile_copies_and_installs_what_is_built(root: Path) -> None:
    """The review of each line that needs no container engine."""
    text = (root / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line and line[0] != "#"]
    steps = dict(lines)
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [step for step, _ in lines] == [
        "FROM", "COPY", "RUN", "WORKDIR", "USER", "ENTRYPOINT", "CMD",
    ]  # fmt: skip
    base = re.fullmatch(r"python:3\.(\d+)-slim", steps["FROM"])
    assert int(base[1]) >= int(project["requires-python"].rpartition(".")[2])
    requirements, wheel, folder = shlex.split(steps["COPY"])
    assert (root / requirements).is_file() and folder.endswith("/")
    built = f"dist/spam_batch-{__version__}-py3-none-any.whl"
    assert fnmatch.fnmatch(built, wheel)
    assert f"--require-hashes -r {folder}{requirements}" in steps["RUN"]
    assert f"--no-deps {folder}{wheel.removeprefix('dist/')}" in steps["RUN"]
    assert steps["ENTRYPOINT"] == '["spam-batch"]' and "spam-batch" in project["scripts"]
    ignored = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [line[1:] for line in ignored if line.startswith("!")]
    assert "*" in ignored and kept == [requirements, wheel]


def test_the_changelog_begins_with_this_version(root: Path) -> None:
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (\S+) ", text, re.M)
    assert versions[0] == __version__
    kinds = set(re.findall(r"^### (.*)$", text, re.M))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]  # batch/version.py alone has it
