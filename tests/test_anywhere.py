"""Each setting of ``make test-anywhere`` has its effect; a failure is told at the end."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def anywhere(root: Path):
    spec = importlib.util.spec_from_file_location("anywhere", root / "tests" / "anywhere.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["default", "avx2", "onednn", "one", "two"])
def test_it_takes_effect(anywhere, monkeypatch, name: str) -> None:
    if name in ("avx2", "onednn") and not torch.cpu._is_avx2_supported():
        pytest.skip("this processor has no AVX2")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert anywhere.takes_effect(name)


def test_a_line_a_setting_and_a_failure_at_the_end(root: Path, tmp_path: Path) -> None:
    test = tmp_path / "test_seed.py"
    test.write_text(
        "import os, pytest\n\n@pytest.mark.computes\ndef test_seed():\n"
        "    assert 'SPAM_TEST_SEED' not in os.environ\n"
    )
    command = [sys.executable, "tests/anywhere.py", "one", "seed", "native", str(test)]
    env = {key: value for key, value in os.environ.items() if key != "SPAM_TEST_SEED"}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=600)
    said = re.sub(r"(, 1 warning)? in [\d.]+s.*| - .*", "", done.stdout)
    assert re.sub(r"FAILED .*::", "FAILED ", said).splitlines() == [
        "one      1 passed", "seed     1 failed", "FAILED test_seed", "native   1 passed",
    ]  # fmt: skip
    assert done.returncode == 1
