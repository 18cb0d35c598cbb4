"""Ranks, and the published files that they are made from."""

import hashlib

import pytest

from batch.errors import BundleError
from trainer.fetch import sources
from trainer.fetch.bpe_files import merge_ranks, split_ranks


def test_split_ranks_gives_openais_files_byte_for_byte(bpe_file):
    merges, vocab = split_ranks(bpe_file.read_bytes())
    assert hashlib.sha256(merges).hexdigest() == sources.VOCAB_SHA256
    assert hashlib.sha256(vocab).hexdigest() == sources.ENCODER_SHA256
    assert merge_ranks(merges, vocab) == bpe_file.read_bytes()


def test_split_ranks_refuses_another_file():
    with pytest.raises(BundleError):
        split_ranks(b"IQ== 0\n")
