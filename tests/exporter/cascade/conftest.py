"""The stub bundles of the tests of spam-batch, for cascades that are exported."""

import importlib.util
from pathlib import Path

import pytest

_PATH = Path(__file__).resolve().parents[2] / "batch" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("stub_bundles", _PATH)
_STUBS = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_STUBS)
make_bundle = _STUBS.make_bundle


@pytest.fixture(scope="session")
def slow(make_bundle) -> Path:
    return make_bundle()


@pytest.fixture(scope="session")
def fast(make_bundle) -> Path:
    """The slow model with a shift: wrong where that leans a little to spam."""
    return make_bundle(shift=0.5)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """400 messages of which no two are near copies, and a few that are there twice."""
    letters = "abcdefghijklmnopqrst"
    found = [f"dear {one}{other}, it is {other}" for one in letters for other in letters]
    return [*found, *found[:20]]


@pytest.fixture
def inbox(texts, tmp_path) -> Path:
    path = tmp_path / "held-out.csv"
    path.write_text("text\n" + "".join(f'"{text}"\n' for text in texts), encoding="utf-8")
    return path
