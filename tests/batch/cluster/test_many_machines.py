"""The Spark program in docs/many-machines.md, as it stands there."""

import csv
import os
import re
import shutil
import subprocess
import sys

import pytest

LOCAL = (
    "--master local[2] --conf spark.ui.enabled=false --conf spark.driver.bindAddress=127.0.0.1 "
    "pyspark-shell"
)


@pytest.mark.slow
def test_spark_labels_as_the_command_does(root, bundle, tmp_path, run_cli):
    pytest.importorskip("pyspark", reason="pyspark is not installed")
    if not shutil.which("java"):
        pytest.skip("there is no Java")
    page = (root / "docs" / "many-machines.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "spam").symlink_to(bundle)
    shutil.copy(root / "examples" / "inbox.csv", tmp_path)
    env = {
        **os.environ, "PYSPARK_SUBMIT_ARGS": LOCAL, "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }  # fmt: skip
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=590
    )
    assert done.returncode == 0, done.stderr
    args = ("classify", tmp_path / "inbox.csv", "--out", tmp_path / "o.csv", "--bundle", bundle)
    assert run_cli("batch", *args).returncode == 0
    (made,) = (tmp_path / "labelled").glob("*.csv")
    ours, theirs = (read(path) for path in (tmp_path / "o.csv", made))
    assert len(ours) == 150
    assert ours == theirs


def read(path) -> list[tuple[str, str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [(row["id"], row["label"], f"{float(row['score']):.6f}") for row in rows]
