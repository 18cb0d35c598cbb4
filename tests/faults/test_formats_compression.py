"""Compressed inputs, whole, cut and damaged: F42 to F46 of the checklist, by whole commands."""

import bz2
import gzip
import lzma
import os
import random
import tracemalloc

import pytest

from batch.reading.compression import _load_zstd

ROWS = b"".join(b'%d,"message, ""%d""",x\n' % (row, row) for row in range(40))
TABLE = b"id,text,x\n" + ROWS
WRAPPED = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: _load_zstd().compress(data),
}


@pytest.mark.parametrize("kind", WRAPPED)
@pytest.mark.parametrize("cut", [*range(1, 9), 0.5])
def test_F42_a_compressed_file_that_is_cut(label, kind, cut):
    data = WRAPPED[kind](TABLE)
    end = int(len(data) * cut) if cut == 0.5 else len(data) - cut
    exit_code, said, found = label(data[:end])
    assert (exit_code, found) == (65, None)
    assert said.startswith(f"in.csv: the {kind} data ends too early, the file is cut off, after ")


def test_F42_the_rows_so_far_are_stated(label):
    data = gzip.compress(TABLE)[:-1]
    assert label(data) == (
        65,
        f"in.csv: the gzip data ends too early, the file is cut off, after {len(TABLE):,} "
        "decompressed bytes; records read before it: 40",
        None,
    )


@pytest.mark.parametrize("at", [-8, -5, -4, -1])
def test_F43_a_checksum_or_length_that_is_wrong(label, at):
    data = bytearray(gzip.compress(TABLE))
    data[at] ^= 0x40
    exit_code, said, found = label(bytes(data))
    assert (exit_code, found) == (65, None)
    assert said.startswith("in.csv: the gzip data is damaged, after ")


@pytest.mark.parametrize("kind", WRAPPED)
def test_F44_many_members_are_one_file(label, kind):
    pack = WRAPPED[kind]
    wanted = label(TABLE)
    assert wanted[0] == 0
    for cuts in ((200, 300), (0, 1), (5, 5)):
        parts = (TABLE[: cuts[0]], TABLE[cuts[0] : cuts[1]], TABLE[cuts[1] :])
        assert label(b"".join(map(pack, parts))) == wanted


@pytest.mark.parametrize("kind", WRAPPED)
def test_F45_zeros_are_good_and_garbage_is_not(label, kind):
    data = WRAPPED[kind](TABLE)
    assert label(data + bytes(10_000)) == label(TABLE)
    os.unlink("out.csv")
    for garbage in (b"\r\n", bytes(100) + b"x", b"id,text\n"):
        exit_code, said, found = label(data + garbage)
        assert (exit_code, found) == (65, None)
        assert said == (
            f"in.csv: the {kind} data is followed by something else, after {len(TABLE):,} "
            "decompressed bytes; records read before it: 40"
        )


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2"])
def test_F46_a_bomb_is_an_over_long_record(label, kind, score_of):
    size = 100 << 20
    data = WRAPPED[kind](b"text\n" + bytes(size) + b"\nafter\n")
    assert len(data) < size / 500
    tracemalloc.start()
    try:
        exit_code, _, found = label(data, "--max-record-bytes", 1 << 20, "--max-rejects", 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (exit_code, found) == (3, b"text,label,score\nafter," + score_of("after") + b"\n")
    assert peak < 32 << 20


@pytest.mark.parametrize("name", ["in.csv", "in.csv.gz", "in.zst", "in.parquet.csv", "in"])
def test_F46_the_name_does_not_tell_how_it_is_compressed(label, name):
    assert label(bz2.compress(TABLE), name=name) == label(TABLE)


def test_any_damage_is_told_or_harmless(label):
    """Flips of single bits in a gzip file: the rows of the whole file, or none."""
    wanted, data = label(TABLE), gzip.compress(TABLE)
    chance = random.Random(0)
    for _ in range(50):
        os.unlink("out.csv")
        broken = bytearray(data)
        broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        exit_code, said, found = label(bytes(broken))
        if exit_code:
            assert (exit_code, found) == (65, None)
            assert said.startswith("in.csv: ")
        else:
            assert found == wanted[2]
        label(TABLE)
