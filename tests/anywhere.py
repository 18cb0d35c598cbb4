"""Run the tests marked ``computes`` once under each setting that may change a sum's last bit.

A setting is the environment of a process. One that has no effect on this machine, by what
torch, oneDNN and MKL say of themselves, is told and not run. onnxruntime has no such switch.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

# Name -> what is set, and what the probe then finds.
SETTINGS = {
    "native": ({}, ""),
    "default": ({"ATEN_CPU_CAPABILITY": "default"}, r"^torch DEFAULT$"),
    "avx2": ({"ATEN_CPU_CAPABILITY": "avx2"}, r"^torch AVX2$"),
    "onednn": ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, r"cpu,isa:Intel AVX2$"),
    # torch's products of float32 and float64 are MKL's, which neither of the above tells.
    "mkl": ({"MKL_ENABLE_INSTRUCTIONS": "AVX2"}, r"Intel\(R\) Advanced Vector Extensions 2 "),
    "one": ({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}, r"^threads 1$"),
    "two": ({"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}, r"^threads 2$"),
    "seed": ({"SPAM_TEST_SEED": "1"}, ""),
}
PROBE = """
import torch
from torch.backends import mkl, mkldnn
x = torch.ones(8, 3, 32, 32)  # smaller ones are not oneDNN's
with torch.no_grad(), mkldnn.verbose(mkldnn.VERBOSE_ON), mkl.verbose(mkl.VERBOSE_ON):
    torch.mm(x[0, 0], x[0, 0]), torch.conv2d(x, torch.ones(16, 3, 3, 3))
print(f"torch {torch.backends.cpu.get_cpu_capability()}\\nthreads {torch.get_num_threads()}")
"""


def python(name: str, *args: str) -> subprocess.CompletedProcess:
    root, env = Path(__file__).resolve().parents[1], os.environ | SETTINGS[name][0]
    command = [sys.executable, *args]
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)


def takes_effect(name: str) -> bool:
    return re.search(SETTINGS[name][1], python(name, "-c", PROBE).stdout, re.M) is not None


def run(name: str, args: list[str]) -> bool:
    """Run pytest under a setting, print its counts and what failed; whether all passed."""
    if not takes_effect(name):
        print(f"{name:8} not run: it has no effect here", flush=True)
        return True
    given = [f"--hypothesis-seed={seed}" for seed in SETTINGS[name][0].values() if name == "seed"]
    done = python(name, "-m", "pytest", "-q", "--tb=short", "-m", "computes", *given, *args)
    lines = done.stdout.splitlines() or done.stderr.splitlines()[-1:]
    print(f"{name:8} {lines[-1].strip('= ')}", flush=True)
    print(*(f"{line}\n" for line in lines if line.startswith(("FAILED", "ERROR"))), sep="", end="")
    return done.returncode == 0


if __name__ == "__main__":
    chosen = [arg for arg in sys.argv[1:] if arg in SETTINGS] or list(SETTINGS)
    sys.exit(not all([run(name, [a for a in sys.argv[1:] if a not in chosen]) for name in chosen]))
