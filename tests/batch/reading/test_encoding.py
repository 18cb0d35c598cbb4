"""Encodings: which are read as they are, which by way of UTF-8, and what is refused."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.errors import InputError, UsageError
from batch.reading.encoding import (
    Encoding,
    Transcoder,
    detect_encoding,
    find_byte_order,
    parse_encoding,
    read_some,
)

AS_THEY_ARE = ["utf-8", "UTF8", "utf-8-sig", "ascii", "latin-1", "cp1252", "koi8-r", "iso8859-15"]
BY_WAY_OF_UTF_8 = ["utf-16", "utf-16-le", "utf_32_be", "shift_jis", "gbk", "gb18030", "big5"]
BY_WAY_OF_UTF_8 += ["euc-jp", "euc-kr", "cp037", "cp949"]


def refusal(action, *args) -> str:
    with pytest.raises((InputError, UsageError)) as error:
        action(*args)
    return str(error.value)


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_supersets_of_ascii_are_read_as_they_are(name):
    encoding = parse_encoding(name)
    assert not encoding.is_transcoded
    assert encoding.codec == encoding.name


@pytest.mark.parametrize("name", BY_WAY_OF_UTF_8)
def test_all_others_are_read_by_way_of_utf_8(name):
    encoding = parse_encoding(name)
    assert encoding.is_transcoded
    assert encoding.codec == "utf-8"


@pytest.mark.parametrize("name", ["klingon", "rot13", "hex", "", "a\0b", "x" * 300])
def test_what_is_no_encoding(name):
    assert refusal(parse_encoding, name) == (
        f"--encoding: there is no {name!r}; for example utf-8, utf-16, latin-1, cp1252"
    )


@pytest.mark.parametrize("name", ["utf-7", "iso2022_jp", "iso-2022-kr", "hz", "idna", "punycode"])
def test_what_cannot_be_cut_into_pieces(name):
    assert refusal(parse_encoding, name) == (
        f"--encoding: {name!r} has bytes whose meaning depends on those before them; "
        "convert the input to UTF-8 first"
    )


def test_our_own_text_in_the_inputs_encoding():
    assert parse_encoding("latin-1").encode("señal") == b"se\xf1al"
    assert parse_encoding("utf-16").encode("señal") == "señal".encode()
    assert refusal(parse_encoding("ascii").encode, "señal") == (
        "'señal' cannot be written in ascii"
    )
    assert refusal(parse_encoding("shift_jis").encode, "señal") == (
        "'señal' cannot be written in shift_jis"
    )


def test_text_that_is_not_valid_becomes_the_replacement_character():
    assert Encoding().decode(b"a\xffb") == "a\ufffdb"
    assert parse_encoding("cp1252").decode(b"\x80\x81") == "€\ufffd"


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_the_mark_says_the_order(order):
    head = "\ufeffid,text\n".encode(order)
    assert detect_encoding(head) == order[:6]
    assert find_byte_order("in.csv", head, Encoding(order[:6])).name == order
    assert find_byte_order("in.csv", head, Encoding(order)).name == order
    assert find_byte_order("in.csv", head[4:], Encoding(order)).name == order


def test_no_mark_or_the_wrong_one():
    assert refusal(find_byte_order, "in.csv", b"i\0d\0", Encoding("utf-16")) == (
        "in.csv: has no byte order mark; type: --encoding utf-16-le, or --encoding utf-16-be"
    )
    head = "\ufeffid".encode("utf-16-be")
    assert refusal(find_byte_order, "in.csv", head, Encoding("utf-16-le")) == (
        "in.csv: starts with the mark of utf-16-be; type: --encoding utf-16-be"
    )


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"", None),
        (b"id,text\n1,a\n", None),
        (b"\xef\xbb\xbfid,text\n", None),
        (b"i\0d\0", None),  # too short to tell
        (b"a\0b,text\n1,x\0\0", None),
        (bytes(64), None),
        ("id,text\n".encode("utf-16-le"), "utf-16-le"),
        ("id,text\n".encode("utf-16-be"), "utf-16-be"),
        ("id,text\n1,é中\n".encode("utf-16-be"), "utf-16-be"),
        ("id,text\n".encode("utf-32-le"), "utf-32-le"),
        ("id,text\n1,é中\n".encode("utf-32-be"), "utf-32-be"),
    ],
)
def test_utf_16_is_known_by_its_nul_bytes(head, found):
    assert detect_encoding(head) == found


@pytest.mark.parametrize("name", ["utf-16-le", "utf-32-be", "shift_jis", "gbk", "euc-jp", "cp037"])
@pytest.mark.parametrize("size", [1, 3, 1 << 16])
@given(data=st.data())
def test_text_comes_back_the_same(name, size, data):
    text = data.draw(st.text('aé,"\n表ソ中あ\ufeff😀\0', max_size=30)).encode(name, "ignore")
    stream = Transcoder("in.csv", io.BytesIO(text), Encoding(name))
    pieces = list(iter(lambda: stream.read(size), b""))
    assert b"".join(pieces).decode() == text.decode(name)
    assert b"".join(piece.decode().encode(name) for piece in pieces) == text


@pytest.mark.parametrize("size", [1, 4, 1 << 16])
@pytest.mark.parametrize(
    ("name", "data", "offset"),
    [
        ("utf-16-le", "abc".encode("utf-16-le") + b"\x00\xdc" + b"d\0", 6),
        ("utf-16-be", "abc".encode("utf-16-be") + b"\xd8\x00", 6),  # half a pair at the end
        ("utf-16-le", "abc".encode("utf-16-le") + b"d", 6),  # half a character
        ("utf-32-le", "ab".encode("utf-32-le") + b"\x00\x00\x11\x00", 8),
        ("gbk", "中a".encode("gbk") + b"\xff,", 3),
        ("shift_jis", b"ab\x82", 2),
        ("cp932", b"ab\x87\x90c", 2),  # it stands twice in the table, and would come back as 81 E0
        ("cp932", b"ab\x87\x90c\x82", 2),
    ],
)
def test_bytes_that_do_not_come_back(name, data, offset, size):
    stream = Transcoder("in.csv", io.BytesIO(data), Encoding(name))

    found = b""

    def read_all():
        nonlocal found
        while chunk := stream.read(size):
            found += chunk

    assert refusal(read_all) == (
        f"in.csv: byte offset {offset}: not valid {name}; "
        "type the right --encoding, or repair the input"
    )
    assert found == data[:offset].decode(name).encode()  # whatever the size


def test_a_stream_without_bytes_yet():
    class Waiting(io.BytesIO):
        def read(self, n=-1):
            return None

    with pytest.raises(BlockingIOError) as error:
        read_some(Waiting(), 10)
    assert str(error.value) == "the input has no bytes yet and would not wait for them"
