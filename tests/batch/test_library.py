"""``from batch import Classifier``: cheap to import, picklable, shared by threads."""

import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

import batch
from batch import Classifier, Predictions
from batch.errors import BundleError
from batch.model.bundle import open_bundle
from batch.model.bundle_files import MANIFEST

TEXTS = [f"message {number} " * (number % 9) for number in range(300)]


def test_the_import_is_cheap_until_it_is_used():
    script = (
        "import sys, batch; print('numpy' in sys.modules, 'onnxruntime' in sys.modules); "
        "print(batch.Classifier.__name__, 'numpy' in sys.modules, 'onnxruntime' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split("\n")[:2] == ["False False", "Classifier True False"]


def test_names_that_are_not_there():
    with pytest.raises(AttributeError) as error:
        _ = batch.Klassifier
    assert str(error.value) == "module 'batch' has no attribute 'Klassifier'"


def test_shapes(classifier):
    found = classifier.classify(TEXTS)
    assert isinstance(found, Predictions)
    assert len(found.labels) == 300
    assert [array.shape for array in (found.scores, found.probabilities)] == [(300,), (300, 2)]
    assert [array.dtype for array in (found.tokens, found.truncated)] == [np.int64, np.bool_]
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=0, atol=1e-12)
    nothing = classifier.classify([])
    assert (nothing.labels, nothing.scores.shape, nothing.probabilities.shape) == ([], (0,), (0, 2))


def test_threads_share_one(classifier):
    parts = [TEXTS[start : start + 7] for start in range(0, 300, 7)] * 6
    expected = [classifier.classify(part) for part in parts]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(classifier.classify, parts))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.labels == theirs.labels
        np.testing.assert_array_equal(ours.scores, theirs.scores)


def test_a_pickle_loads_the_bundle_again(bundle, monkeypatch, tmp_path):
    monkeypatch.chdir(bundle.parent)  # the folder is found from elsewhere, too
    loaded = Classifier.load(bundle.name, "cpu", 1)
    data = pickle.dumps(loaded)
    assert len(data) < 1000
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(data)
    assert again.bundle.digest == loaded.bundle.digest
    assert (again.session.threads, again.precision) == (1, "fp32")
    np.testing.assert_array_equal(again.classify(TEXTS).scores, loaded.classify(TEXTS).scores)


def test_another_process_has_it(classifier):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = pool.submit(classifier.classify, TEXTS).result(timeout=120)
    np.testing.assert_array_equal(found.scores, classifier.classify(TEXTS).scores)


def test_a_pickle_whose_bundle_was_replaced(make_bundle, tmp_path):
    folder = shutil.copytree(make_bundle(), tmp_path / "bundle")
    loaded = Classifier.load(folder, "cpu", 1)
    data = pickle.dumps(loaded)
    shutil.copyfile(make_bundle(threshold=0.9) / MANIFEST, folder / MANIFEST)
    with pytest.raises(BundleError) as error:
        pickle.loads(data)
    assert str(error.value) == (
        f"{folder}: the digest is {open_bundle(folder).digest}, but the pickled classifier has "
        f"{loaded.bundle.digest}; give both machines the same bundle"
    )


def test_one_that_was_not_loaded_is_not_pickled(classifier):
    parts = (classifier.bundle, classifier.session, classifier.tokenizer)
    with pytest.raises(TypeError) as error:
        pickle.dumps(Classifier(*parts))
    assert str(error.value) == "only a Classifier that Classifier.load made can be pickled"
