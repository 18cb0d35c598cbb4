"""The README's tree, the Makefile's help and the packages' borders, against what is there."""

import ast
import re
import subprocess
from collections import Counter
from pathlib import Path

PACKAGES = ("trainer", "exporter", "batch")


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


def code_files(root: Path) -> list[Path]:
    return sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))


def test_one_file_imports_tensorflow(root: Path) -> None:
    """The other borders are contracts of import-linter, in pyproject.toml."""
    found = set()
    for path in code_files(root):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in getattr(node, "names", [])]
            if (isinstance(node, ast.Import) and "tensorflow" in names) or (
                isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "tensorflow"
            ):
                found.add(str(path.relative_to(root)))
    assert found == {"trainer/model/openai_checkpoint.py"}


def test_files_functions_and_folders_stay_small(root: Path) -> None:
    for path in code_files(root):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 350, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno < 80, f"{path}: {node.name}"
    folders = Counter(path.parent for path in code_files(root))
    assert {folder: files for folder, files in folders.items() if files > 16} == {}
