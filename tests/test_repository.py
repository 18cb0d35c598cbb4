"""The pages, the Makefile's help and the packages' borders, compared with the files."""

import ast
import re
import subprocess
from collections import Counter
from pathlib import Path

PACKAGES = ("trainer", "exporter", "batch")
LONGEST = 350  # lines of a file of code


def test_the_tree_lists_every_file(root: Path) -> None:
    """docs/architecture.md: a file that is missing there, or that is gone, fails."""
    page = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = page.split("## Every file")[1].split("```text\n")[1].split("```")[0]
    listed, folder = [], ""
    for line in tree.splitlines():
        name, what = re.match(r" *(\S+) +(\S.*)", line).groups()
        assert what
        if line.startswith(" "):
            listed.append(folder + name)
        else:
            folder = name
            assert folder.endswith("/") and (root / folder).is_dir(), folder
    code = {
        str(path.relative_to(root))
        for package in (*PACKAGES, "benchmarks", "docs")
        for path in (root / package).rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    }
    assert sorted(listed) == sorted(set(listed))
    assert {name for name in listed if name.endswith(".py")} == code
    assert [name for name in listed if not (root / name).exists()] == []


def test_the_readme_is_short_and_names_every_room(root: Path) -> None:
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 120
    rooms = {path.parent.relative_to(root) for path in code_files(root)}
    assert [str(room) for room in rooms if str(room) not in readme] == []


def test_every_page_is_in_the_index(root: Path) -> None:
    index = (root / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in (root / "docs").glob("*.md")} - {"README.md"}
    assert [page for page in pages if f"({page})" not in index] == []


def test_links_between_pages_lead_somewhere(root: Path) -> None:
    for page in [*root.glob("*.md"), *(root / "docs").glob("*.md"), *root.glob("examples/*.md")]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            name, _, section = target.partition("#")
            if name.startswith("http"):
                continue
            linked = (page.parent / name).resolve() if name else page
            assert linked.exists(), f"{page.name}: {target}"
            if section:
                assert section in find_sections(linked), f"{page.name}: {target}"


def find_sections(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    heads = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


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


def all_files(root: Path) -> list[Path]:
    folders = (*PACKAGES, "benchmarks", "docs", "examples", "tests")
    return sorted(path for folder in folders for path in (root / folder).rglob("*.py"))


def test_files_functions_and_folders_stay_small(root: Path) -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in all_files(root)}
    too_long = {str(path.relative_to(root)) for path, count in lines.items() if count > LONGEST}
    assert too_long == set()
    for path in code_files(root):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno < 80, f"{path}: {node.name}"
    folders = Counter(path.parent for path in all_files(root))
    assert {folder: files for folder, files in folders.items() if files > 16} == {}
