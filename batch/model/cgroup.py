"""How many processors the cgroups of this process allow, as a container or systemd sets it."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def find_cpu_quota(root: Path = Path("/")) -> int | None:
    """Processors by the smallest quota of the process's cgroup and of all those above it.

    At least 1, rounded down; None if there is no quota. Both versions of cgroups are read
    (Linux, Documentation/admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst).

    Args:
        root: the folder that has ``proc`` and ``sys``.
    """
    quotas = [max(1, quota // period) for quota, period in _find_quotas(root)]
    return min(quotas, default=None)


def _find_quotas(root: Path) -> Iterator[tuple[int, int]]:
    """Quota and period in microseconds of each level that has them."""
    base = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:  # version 2
            for folder in _levels(base, path):
                yield from _parse(_read(folder / "cpu.max"))
        elif "cpu" in controllers.split(","):
            # The mount has the name of all its controllers, and often a link for each.
            mount = base / (controllers if (base / controllers).is_dir() else "cpu")
            for folder in _levels(mount, path):
                quota = _read(folder / "cpu.cfs_quota_us").strip()
                yield from _parse(f"{quota} {_read(folder / 'cpu.cfs_period_us')}")


def _levels(mount: Path, path: str) -> Iterator[Path]:
    """The folders from the mount down to the cgroup ``path``; some may not exist.

    In a container the mount may be the cgroup itself, and ``path`` that of the host.
    """
    yield mount
    for part in PurePosixPath(path).parts[1:]:
        if part == "..":  # the cgroup is outside the namespace
            return
        mount = mount / part
        yield mount


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _parse(text: str) -> Iterator[tuple[int, int]]:
    """``QUOTA PERIOD``; nothing for ``max``, or -1 in version 1: no quota."""
    parts = text.split()
    if len(parts) == 2 and all(part.isdecimal() for part in parts) and int(parts[1]):
        yield int(parts[0]), int(parts[1])
