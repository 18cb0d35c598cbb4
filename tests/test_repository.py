"""The README's tree, the Makefile's help and the packages' borders, against what is there."""

import ast
import re
import subprocess
from pathlib import Path

PACKAGES = ("trainer", "exporter", "batch")
# Who may import whom: DESIGN in one line a package.
MAY_IMPORT = {"batch": {"batch"}, "trainer": {"batch", "trainer"}, "exporter": set(PACKAGES)}


def test_readme_tree_matches_the_files(root: Path) -> None:
    readme = (root / "README.md").read_text(encoding="utf-8")
    tree = readme.split("## The tree")[1].split("```text\n")[1].split("```")[0]
    listed, folder = set(), ""
    for line in tree.strip().splitlines():
        name, comment = re.match(r" *(\S+) +(\S.*)", line).groups()
        assert comment
        if not line.startswith(" "):
            folder = name if name.endswith("/") else ""
        if not name.endswith("/"):
            listed.add(folder * line.startswith(" ") + name)
    there = {
        str(path.relative_to(root))
        for package in (*PACKAGES, "benchmarks", "docs")
        for path in (root / package).glob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    }
    assert {name for name in listed if name.endswith(".py")} == there
    assert all((root / name).exists() for name in listed)


def test_every_make_target_has_a_line_of_help(root: Path) -> None:
    text = (root / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", text, re.M).group(1).split()
    result = subprocess.run(
        ["make", "help"], cwd=root, capture_output=True, text=True, check=True, timeout=60
    )
    shown = [line.split()[1] for line in result.stdout.splitlines() if "make " in line]
    assert sorted(shown) == sorted(targets)


def test_imports_point_one_way(root: Path) -> None:
    for package, allowed in MAY_IMPORT.items():
        for path in (root / package).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [node.module]
                for name in names:
                    top = name.split(".")[0]
                    assert top not in PACKAGES or top in allowed, f"{path.name} imports {name}"
                    assert top != "tensorflow" or path.name == "openai_checkpoint.py"


def test_files_stay_small(root: Path) -> None:
    for package in PACKAGES:
        for path in (root / package).glob("*.py"):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 350, path
