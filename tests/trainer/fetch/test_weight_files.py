"""The order of the sources of weights, the pins, and weights from the user."""

import dataclasses
import hashlib
import logging
from pathlib import Path

import pytest

from batch.errors import MissingInputError, UnavailableError, UsageError
from trainer.fetch import sources, weight_files
from trainer.fetch.download import download
from trainer.fetch.sources import RemoteFile, Weights
from trainer.fetch.weight_files import WeightFiles, fetch_weights


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def only(files: dict[str, bytes], folder: Path) -> None:
    """Assert that the folder has these files and no other, no lock and no temporary file."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert found == files


CHECKPOINT = {name: name.encode() for name in sources.CHECKPOINT_FILES}
HASHES = {name: sha256(data) for name, data in CHECKPOINT.items()}
HUB = b"safetensors"


class TestFetchWeights:
    @pytest.fixture(autouse=True)
    def pins(self, monkeypatch: pytest.MonkeyPatch, web) -> None:
        self.monkeypatch = monkeypatch
        self.tensorflow(True)
        mirrors = tuple(
            tuple(RemoteFile(web.url(f"/{m}/{name}"), HASHES[name]) for name in CHECKPOINT)
            for m in ("openai", "copy")
        )
        hub = RemoteFile(web.url("/hub/model.safetensors"), sha256(HUB))
        unpinned = tuple(
            tuple(dataclasses.replace(remote, sha256=None) for remote in mirror)
            for mirror in mirrors
        )
        weights = {
            "gpt2-small": Weights(mirrors, hub),
            "gpt2-xl": Weights(unpinned, dataclasses.replace(hub, sha256=None)),
        }
        monkeypatch.setattr(sources, "WEIGHTS", weights)

    def tensorflow(self, is_there: bool) -> None:
        spec = object() if is_there else None
        self.monkeypatch.setattr(weight_files.importlib.util, "find_spec", lambda name: spec)

    def serve(self, web, mirror: str) -> str:
        for name, data in CHECKPOINT.items():
            web.url(f"/{mirror}/{name}", web.send(data))
        return web.url(f"/{mirror}/")

    def serve_hub(self, web, data: bytes = HUB) -> str:
        return web.url("/hub/model.safetensors", web.send(data))

    def test_openai_comes_first(self, web, tmp_path: Path) -> None:
        url = self.serve(web, "openai")
        self.serve_hub(web)
        home = tmp_path / "gpt2-small" / "openai"
        assert fetch_weights(tmp_path, "gpt2-small") == WeightFiles("openai", home, url, HASHES)
        only(CHECKPOINT, home)
        again = fetch_weights(tmp_path, "gpt2-small", "openai")
        assert again == WeightFiles("openai", home, "already there, SHA-256 verified", HASHES)
        assert len(web.requests) == 5

    def test_then_its_copy(self, web, tmp_path: Path) -> None:
        web.url("/openai/checkpoint", web.send(CHECKPOINT["checkpoint"]))
        url = self.serve(web, "copy")
        assert fetch_weights(tmp_path, "gpt2-small").origin == url
        # The file from the first source is not downloaded twice.
        assert web.paths()[:3] == [
            "/openai/checkpoint",
            "/openai/hparams.json",
            "/copy/hparams.json",
        ]

    def test_hub_without_tensorflow(self, web, tmp_path: Path) -> None:
        self.tensorflow(False)
        self.serve(web, "openai")
        url = self.serve_hub(web)
        path = tmp_path / "gpt2-small" / "model.safetensors"
        hashes = {"model.safetensors": sha256(HUB)}
        expected = WeightFiles("huggingface", path, url, hashes)
        assert fetch_weights(tmp_path, "gpt2-small") == expected
        assert web.paths() == ["/hub/model.safetensors"]
        # Existing weights are used, even if a better source could be reached now.
        self.tensorflow(True)
        again = dataclasses.replace(expected, origin="already there, SHA-256 verified")
        assert fetch_weights(tmp_path, "gpt2-small") == again
        assert len(web.requests) == 1

    def test_kind_selects_the_source(self, web, tmp_path: Path) -> None:
        self.serve(web, "openai")
        self.serve_hub(web)
        assert fetch_weights(tmp_path, "gpt2-small", "huggingface").kind == "huggingface"
        assert fetch_weights(tmp_path, "gpt2-small", "openai").kind == "openai"

    def test_no_source(self, web, tmp_path: Path) -> None:
        self.tensorflow(False)
        reason = "tensorflow is not installed: pip install 'spam-batch[openai]'"
        advice = "get it elsewhere, then type: spam-train fetch weights --from PATH"
        with pytest.raises(UnavailableError) as caught:
            fetch_weights(tmp_path, "gpt2-small")
        assert str(caught.value) == (
            "weights of gpt2-small: no source works\n"
            f"  {web.url('/openai/')}: {reason}\n"
            f"  {web.url('/copy/')}: {reason}\n"
            f"  {web.url('/hub/model.safetensors')}: the server answered 404 Not Found\n"
            f"{advice}"
        )

    def test_first_use_pins(self, web, tmp_path: Path, caplog) -> None:
        self.serve_hub(web)
        home = tmp_path / "gpt2-xl"
        first = fetch_weights(tmp_path, "gpt2-xl", "huggingface")
        assert first.sha256 == {"model.safetensors": sha256(HUB)}
        pin = f"{sha256(HUB)}  model.safetensors\n".encode()
        only({"model.safetensors": HUB, "model.safetensors.sha256": pin}, home)
        text = "model.safetensors has no published SHA-256: pinned %s in model.safetensors.sha256"
        assert caplog.messages == [text % sha256(HUB)]
        # After that, other bytes are refused, on disk and from the server.
        (home / "model.safetensors").write_bytes(b"changed")
        self.serve_hub(web, b"newer")
        with pytest.raises(UnavailableError) as caught:
            fetch_weights(tmp_path, "gpt2-xl", "huggingface")
        path = home / "model.safetensors"
        assert str(caught.value).split("\n")[1] == (
            f"  {web.url('/hub/model.safetensors')}: SHA-256 is {sha256(b'newer')}, "
            f"expected {sha256(HUB)}; pinned at first use: "
            f"if you trust the new file, delete {path}.sha256 and {path}"
        )
        self.serve_hub(web)
        assert fetch_weights(tmp_path, "gpt2-xl", "huggingface").sha256 == first.sha256

    def test_advice_on_a_changed_pin_works(self, web, tmp_path: Path) -> None:
        self.serve_hub(web)
        path = fetch_weights(tmp_path, "gpt2-xl", "huggingface").path
        path.unlink()
        url = self.serve_hub(web, b"newer")
        with pytest.raises(UnavailableError) as caught:
            fetch_weights(tmp_path, "gpt2-xl", "huggingface")
        assert str(caught.value) == (
            "weights of gpt2-xl: no source works\n"
            f"  {url}: SHA-256 is {sha256(b'newer')}, expected {sha256(HUB)}; pinned at first use: "
            f"if you trust the new file, delete {path}.sha256\n"
            "get it elsewhere, then type: spam-train fetch weights --from PATH"
        )
        path.with_name("model.safetensors.sha256").unlink()
        fetch_weights(tmp_path, "gpt2-xl", "huggingface")
        assert path.read_bytes() == b"newer"

    def test_published_hash_gives_no_advice_on_pins(self, web, tmp_path: Path) -> None:
        url = self.serve_hub(web, b"newer")
        with pytest.raises(UnavailableError) as caught:
            fetch_weights(tmp_path, "gpt2-small", "huggingface")
        assert str(caught.value).split("\n")[1] == (
            f"  {url}: SHA-256 is {sha256(b'newer')}, expected {sha256(HUB)}"
        )

    def test_present_file_without_a_pin_is_pinned(self, web, tmp_path: Path) -> None:
        path = tmp_path / "gpt2-xl" / "model.safetensors"
        path.parent.mkdir()
        path.write_bytes(HUB)
        assert fetch_weights(tmp_path, "gpt2-xl").path == path
        assert (path.parent / "model.safetensors.sha256").read_text().startswith(sha256(HUB))
        assert web.paths() == []

    def test_given(self, web, tmp_path: Path, caplog) -> None:
        for name, data in CHECKPOINT.items():
            (tmp_path / name).write_bytes(data)
        (tmp_path / "model.safetensors").write_bytes(HUB)
        (tmp_path / "other.safetensors").write_bytes(b"mine")
        folder, origin = tmp_path / "weights", f"given: {tmp_path.name}"
        assert fetch_weights(folder, "gpt2-small", source=tmp_path) == WeightFiles(
            "openai", tmp_path, origin, HASHES
        )
        assert fetch_weights(folder, "gpt2-small", "huggingface", tmp_path) == WeightFiles(
            "huggingface",
            tmp_path / "model.safetensors",
            origin,
            {"model.safetensors": sha256(HUB)},
        )
        assert caplog.messages == []
        own = tmp_path / "other.safetensors"
        assert fetch_weights(folder, "gpt2-small", source=own) == WeightFiles(
            "huggingface", own, "given: other.safetensors", {"other.safetensors": sha256(b"mine")},
            others=("other.safetensors",),
        )  # fmt: skip
        assert fetch_weights(folder, "gpt2-xl", source=own) == WeightFiles(
            "huggingface", own, "given: other.safetensors", {"other.safetensors": sha256(b"mine")},
            unknown=("other.safetensors",),
        )  # fmt: skip
        assert caplog.messages == [
            "other.safetensors is not the published model.safetensors of gpt2-small"
        ]
        assert web.paths() == []
        assert not folder.exists()

    def test_given_wrongly(self, tmp_path: Path) -> None:
        def error(kind: str | None, source: Path) -> str:
            with pytest.raises((MissingInputError, UsageError)) as caught:
                fetch_weights(tmp_path / "weights", "gpt2-small", kind, source)
            return str(caught.value)

        forms = "give a folder with OpenAI's checkpoint, or model.safetensors or its folder"
        assert error(None, tmp_path) == f"{tmp_path} has no weights; {forms}"
        assert error("huggingface", tmp_path) == f"{tmp_path} has no huggingface weights; {forms}"
        own = tmp_path / "own.safetensors"
        own.write_bytes(HUB)
        assert error("openai", own) == f"{own} has huggingface weights, not openai"
        (tmp_path / "checkpoint").write_bytes(b"")
        assert error(None, tmp_path) == f"{tmp_path} has no hparams.json; a checkpoint needs it"

    def test_size_and_kind_must_be_known(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError) as caught:
            fetch_weights(tmp_path, "starter")
        assert str(caught.value) == (
            "no published weights of starter; choose gpt2-small or gpt2-xl"
        )
        with pytest.raises(UsageError) as caught:
            fetch_weights(tmp_path, "gpt2-small", "keras")
        assert str(caught.value) == "no weights of kind keras; choose openai or huggingface"


def test_nothing_is_written_to_standard_output(web, tmp_path: Path, capsys) -> None:
    logging.getLogger("trainer").setLevel(logging.INFO)
    try:
        with pytest.raises(UsageError):
            fetch_weights(tmp_path, "starter")
        download(web.url("/x", web.send(b"x")), tmp_path / "x")
    finally:
        logging.getLogger("trainer").setLevel(logging.NOTSET)
    assert capsys.readouterr().out == ""
