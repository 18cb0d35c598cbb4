#!/bin/sh
# Measure training, export, labelling and a cascade on a GPU, in less than eight minutes.
#
#   benchmarks/gpu.sh                 on an NVIDIA GPU
#   benchmarks/gpu.sh --device cpu    the CPU's figures, to put beside them
#   DRY_RUN=1 benchmarks/gpu.sh       on a CPU with a tiny model, in half a minute
#
# It needs no network. Variables, with their default in brackets:
#   PYTHON=   with the extras train, export and gpu (.venv/bin/python)
#   DATA=     labelled messages (data/SMSSpamCollection.tsv; of a dry run examples/inbox.csv)
#   BPE=      gpt2.tiktoken (data/gpt2.tiktoken)
#   WEIGHTS=  of GPT-2 small: a folder or a .safetensors file (random)
#   OUT=      folder of gpu-DEVICE-DATE.json and of the log beside it (benchmarks/results;
#             of a dry run build)
#
# The exit status is 1 unless every step was measured. A step that fails does not stop the next.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
if ! command -v "$python" >/dev/null; then
  echo "gpu.sh: $python is missing; type: make install, or give another PYTHON=" >&2
  exit 66
fi
PYTHONPATH="$root:$root/benchmarks:$root/benchmarks/gpu${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH
# A step that is stopped leaves semaphores, which Python removes with this warning.
exec "$python" -W ignore:resource_tracker:UserWarning "$root/benchmarks/gpu/lead.py" "$@"
