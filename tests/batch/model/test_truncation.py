"""Long messages: head, tail and windows, against the plain encoding and plain loops."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import batch.model.truncation
from batch.model.classifier import Classifier
from batch.model.rules import Rules
from batch.model.tokenizer import LONGEST_TOKEN
from batch.model.truncation import (
    MAX_WINDOWS,
    TAIL_REACH,
    cut_windows,
    describe_truncation,
    encode_truncated,
    max_tokens_read,
    sufficient_suffix,
)

PIECES = st.one_of(
    st.sampled_from(
        ("Hello", " you", "don't", "'ll", "'", "12", "!!", "é", "e\u0301", "👍🏽", "日本", "  ",
         "\n", "\r\n", "\x1c", "\x85", "\xa0", "\u2003", "\u200b", "<|endoftext|>", "-" * 70,
         "a" * 200)
    ),
    st.text(max_size=12),
)  # fmt: skip
TEXTS = (
    *("", " ", "ok", "Do you have time", "<|endoftext|>" * 50, "two\nlines\r\nthree"),
    *("👍🏽" * 99, "e" + "\u0301" * 500, "word " * 2000, "a" * 10_000, " " * 10_000, "x " * 33),
)


@pytest.fixture(scope="module")
def rule(classifier, fixed_length):
    """Makes a classifier by other rules of the stub bundle, or of the one of fixed length."""

    def make(is_fixed: bool = False, **rules) -> Classifier:
        base = fixed_length if is_fixed else classifier
        return Classifier(base.bundle, base.session, base.tokenizer, "fp32", Rules(**rules))

    return make


@st.composite
def long_texts(draw) -> tuple[str, int]:
    """A number of tokens, and a text that is long enough to be cut for it."""
    tokens = draw(st.integers(1, 4))
    unit = "".join(draw(st.lists(PIECES, min_size=1, max_size=8)))
    unit += draw(st.sampled_from(" \t\r\n\u3000\xa0"))
    tail = "".join(draw(st.lists(PIECES, max_size=3)))
    return unit * ((tokens * LONGEST_TOKEN + 4096) // len(unit) + 2) + tail, tokens


@given(long_texts())
@example(("word" + " " * 1000 + "word " * 2000, 2))
@example(("it's 5 o'clock\n" * 400, 1))
def test_the_last_ids_do_not_depend_on_what_stands_before(tokenizer, drawn):
    text, tokens = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch.model.truncation, "TAIL_REACH", 2048)
        suffix = sufficient_suffix(text, tokens)
        found = encode_truncated(tokenizer, [text], tokens, "tail")
    assert text.endswith(suffix) and len(suffix) < len(text)
    whole = tokenizer.encode(text)
    before, first = text[len(text) - len(suffix) - 1], suffix[0]
    if first in " \t\r\n\u3000" and not before.isspace():  # cut where a word ends
        ids = tokenizer.encode(suffix)
        assert (ids, len(ids) >= tokens) == (whole[-len(ids) :], True)
        assert found.row(0).tolist() == whole[-tokens:]
    assert (found.lengths.tolist(), found.truncated.tolist()) == ([tokens], [True])


@given(st.lists(st.lists(PIECES, max_size=8).map("".join), max_size=6), st.integers(1, 9))
def test_the_tail_of_short_texts(tokenizer, texts, limit):
    found = encode_truncated(tokenizer, texts, limit, "tail")
    whole = [tokenizer.encode(text) for text in texts]
    assert [found.row(row).tolist() for row in range(len(texts))] == [ids[-limit:] for ids in whole]
    assert found.truncated.tolist() == [len(ids) > limit for ids in whole]


@pytest.mark.parametrize("unit", ["a", " ", "日", "word ", "word" + "\n" * 70_000])
def test_fifty_megabytes_are_not_encoded(tokenizer, unit):
    text = unit * (50_000_000 // len(unit)) + "end"
    suffix = sufficient_suffix(text, 33)
    assert 33 * LONGEST_TOKEN < len(suffix) <= 33 * LONGEST_TOKEN + TAIL_REACH
    found = encode_truncated(tokenizer, [text], 32, "tail")
    assert found.row(0).tolist() == tokenizer.encode(suffix)[-32:]
    assert found.truncated.all()
    assert len(encode_truncated(tokenizer, [text[:50_000]], 32, "windows").row(0)) <= 32 + 63 * 16


@given(st.lists(st.integers(0, 200), max_size=8), st.integers(1, 33))
def test_windows_cover_each_token_and_overlap(lengths, limit):
    rows, offsets = cut_windows(np.array(lengths, dtype=np.int64), limit)
    for row, length in enumerate(lengths):
        starts = offsets[rows == row].tolist()
        assert starts[0] == 0 and starts[-1] == max(0, length - limit)
        steps = np.diff(starts)
        assert ((steps >= 1) & (steps <= max(1, limit // 2))).all()
    assert rows.tolist() == sorted(rows.tolist())


@given(st.integers(1, 1024))
def test_no_message_has_more_windows_than_allowed(limit):
    most = max_tokens_read("windows", limit)
    assert len(cut_windows(np.array([most]), limit)[0]) == MAX_WINDOWS
    assert len(cut_windows(np.array([most + 1]), limit)[0]) == MAX_WINDOWS + 1


@pytest.mark.parametrize("is_fixed", [False, True])
@pytest.mark.parametrize("long", ["head", "tail", "windows"])
def test_scores_are_those_of_plain_loops(rule, tokenizer, stub_score, long, is_fixed):
    found = rule(is_fixed, long=long).classify(TEXTS * 2)
    most = {"head": 32, "tail": 32, "windows": 32 + 63 * 16}[long]
    for row, text in enumerate(TEXTS * 2):
        ids = tokenizer.encode(text)
        read = ids[-most:] if long == "tail" else ids[:most]
        starts = {*range(0, max(1, len(read) - 32), 16), max(0, len(read) - 32)}
        theirs = max(stub_score(read[start : start + 32]) for start in starts)
        assert found.scores[row] == pytest.approx(theirs, abs=1e-12)
        assert found.labels[row] == ("spam" if theirs >= 0.5 else "ham")
        assert (found.tokens[row], found.truncated[row]) == (len(read), len(ids) > most)
    assert found.repeated == len(TEXTS)
    assert set(found.labels) == {"ham", "spam"}


def test_a_text_is_the_same_in_any_company_and_remembered(rule):
    chosen = rule(long="windows")
    together = chosen.classify(TEXTS)
    again = chosen.classify(TEXTS)
    alone = [rule(long="windows").classify([text]).scores[0] for text in TEXTS]
    assert together.scores.tolist() == again.scores.tolist() == alone
    assert again.tokens.tolist() == together.tokens.tolist()
    assert again.repeated == len(TEXTS)
    assert chosen.encode("x " * 40)[1] is False and rule(long="tail").encode("x " * 40)[1] is True


@pytest.mark.parametrize("positive", ["spam", None])
def test_windows_of_three_classes(make_bundle, tokenizer, stub_logits, positive):
    weights = (-1.0, 1.0, 0.5)
    folder = make_bundle(
        weights=weights, labels=["ham", "spam", "news"], positive_label=positive, temperature=3.0
    )
    chosen = Classifier.load(folder, "cpu", 1, long="windows")
    texts = [f"word{number} " * 30 for number in range(9)]
    found = chosen.classify(texts)
    for row, text in enumerate(texts):
        ids = tokenizer.encode(text)
        starts = [*range(0, len(ids) - 32, 16), len(ids) - 32]
        logits = np.array([stub_logits(ids[start : start + 32], weights) for start in starts])
        best, scores, _ = chosen.decision.decide(logits)
        assert found.scores[row] == pytest.approx(scores.max())
        assert found.labels[row] == chosen.manifest.labels[best[scores.argmax()]]


def test_what_the_summary_says():
    assert describe_truncation("head", 120) == "cut to 120 tokens"
    assert describe_truncation("tail", 120) == "cut to their last 120 tokens"
    assert describe_truncation("windows", 120) == "cut to 3,900 tokens"
