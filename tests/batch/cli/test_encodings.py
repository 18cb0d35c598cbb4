"""Inputs in other encodings, through the command line."""

import pytest


def test_utf_16_unasked(run, refused, table):
    data = table.decode().encode("utf-16")
    assert refused(run, "in.csv", data) == (
        65, "in.csv: looks like utf-16; type: --encoding utf-16"
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030"])
def test_transcoded_in_and_back(run, plain, encoding, labelled, table):
    for mark in ("", "\ufeff"):
        data = (mark + table.decode()).encode(encoding)
        if mark and encoding in ("utf-16", "utf-32"):
            continue  # which write one by themselves
        found = labelled(run, "in.csv", data, "--encoding", encoding)
        assert found == (mark + plain.decode()).encode(encoding)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "iso8859-15"])
def test_the_model_sees_the_right_text(run, plain, encoding, labelled, table):
    data = table.decode().replace("£", "é").encode(encoding)
    wanted = labelled(run, "in.csv", table.replace("£".encode(), "é".encode()))
    found = labelled(run, "in.csv", data, "--encoding", encoding)
    assert found.decode(encoding) == wanted.decode()
    warning = (
        "40 texts have bytes that are not UTF-8 and are read as U+FFFD, first in line 2; each "
        "byte is a letter in cp1252; type: --encoding cp1252"
    )
    assert labelled(run, "in.csv", data, warning=warning) != found


def test_bytes_that_are_no_utf_16(run, refused, table):
    data = table.decode().encode("utf-16-le") + b"\x00\xdc"
    exit_code, said = refused(run, "in.csv", data, "--encoding", "utf-16-le")
    assert (exit_code, said) == (
        65,
        f"in.csv: byte offset {len(data) - 2}: not valid utf-16-le; type the right --encoding, "
        "or repair the input; records read before it: 40",
    )


def test_a_delimiter_beyond_ascii(run, labelled):
    data = "id¦text\n1¦a, b\n".encode("latin-1")
    found = labelled(run, "in.csv", data, "--encoding", "latin-1", "--delimiter", "¦")
    assert found.decode("latin-1") == "id¦text¦label¦score\n1¦a, b¦spam¦0.998499\n"


def test_a_label_that_the_encoding_does_not_have(run, make_bundle, monkeypatch, refused):
    bundle = make_bundle(labels=["ham", "спам"], positive_label="спам")
    message = "'спам' cannot be written in iso8859-1"
    assert refused(run, "in.csv", b"text\na\n", "--encoding", "latin-1", "--bundle", bundle) == (
        2,
        message,
    )


def test_no_such_encoding(run, refused, table):
    message = "--encoding: there is no 'klingon'; for example utf-8, utf-16, latin-1, cp1252"
    assert refused(run, "in.csv", table, "--encoding", "klingon") == (2, message)
