"""The quota of a process's cgroup and of those above it, from files as Linux has them."""

from pathlib import Path

import pytest

from batch.model.cgroup import find_cpu_quota

DEEP = "/kubepods.slice/pod1/container"


@pytest.fixture
def write(tmp_path: Path):
    """Writes files below a root folder: ``write(path, text)``."""

    def write_file(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")

    return write_file


def test_none(tmp_path: Path, write) -> None:
    assert find_cpu_quota(tmp_path) is None  # not Linux
    write("proc/self/cgroup", "0::/\n")
    assert find_cpu_quota(tmp_path) is None
    write("sys/fs/cgroup/cpu.max", "max 100000\n")
    assert find_cpu_quota(tmp_path) is None


@pytest.mark.parametrize(
    ("quotas", "count"),
    [
        (["max", "max", "max", "300000"], 3),  # of the process's own cgroup
        (["max", "200000", "max", "max"], 2),  # of one above
        (["800000", "400000", "600000", "max"], 4),  # the smallest
        (["max", "max", "max", "50000"], 1),  # half a processor
        (["max", "max", "max", "250000"], 2),
        ([None, None, None, "150000"], 1),  # levels without the file
    ],
)
def test_version_2(tmp_path: Path, write, quotas: list[str | None], count: int) -> None:
    write("proc/self/cgroup", f"0::{DEEP}\n")
    folder = "sys/fs/cgroup"
    for name, quota in zip(["", *DEEP.split("/")[1:]], quotas, strict=True):
        folder = f"{folder}/{name}" if name else folder
        if quota:
            write(f"{folder}/cpu.max", f"{quota} 100000\n")
    assert find_cpu_quota(tmp_path) == count


@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
def test_version_1(tmp_path: Path, write, mount: str) -> None:
    write("proc/self/cgroup", f"5:memory:/a\n4:cpu,cpuacct:{DEEP}\n1:name=systemd:/\n0::/\n")
    for level, quota in (("", "-1"), (DEEP, "600000"), ("/kubepods.slice", "400000")):
        write(f"sys/fs/cgroup/{mount}{level}/cpu.cfs_quota_us", f"{quota}\n")
        write(f"sys/fs/cgroup/{mount}{level}/cpu.cfs_period_us", "100000\n")
    assert find_cpu_quota(tmp_path) == 4


def test_a_container_whose_mount_is_its_own_cgroup(tmp_path: Path, write) -> None:
    """The path is that of the host, which is not in the mount."""
    write("proc/self/cgroup", "4:cpu,cpuacct:/docker/0123\n")
    write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000\n")
    write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert find_cpu_quota(tmp_path) == 2


def test_a_cgroup_outside_the_namespace(tmp_path: Path, write) -> None:
    write("proc/self/cgroup", "0::/../../other\n")
    write("sys/fs/cgroup/cpu.max", "300000 100000\n")
    write("sys/fs/cgroup/other/cpu.max", "100000 100000\n")
    assert find_cpu_quota(tmp_path) == 3


@pytest.mark.parametrize("text", ["", "x", "100000", "100000 0", "-1 100000", "1 2 3"])
def test_a_file_that_is_not_understood(tmp_path: Path, write, text: str) -> None:
    write("proc/self/cgroup", "0::/\nno line of this kind\n")
    write("sys/fs/cgroup/cpu.max", text)
    assert find_cpu_quota(tmp_path) is None
