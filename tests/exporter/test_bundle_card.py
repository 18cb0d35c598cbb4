"""Each bundle has a card, which its manifest lists and verify writes anew."""

import json

from batch.model.bundle import open_bundle
from batch.model.bundle_files import CARD, VERIFY
from exporter.verify_bundle import verify_bundle


def test_the_card_is_a_file_of_the_bundle(exported):
    _, bundle, results = exported
    text = (bundle / CARD).read_text(encoding="utf-8")
    opened = open_bundle(bundle)
    assert opened.read(CARD).decode() == text
    for verified in results:
        assert f"| {verified.precision} | cpu | {verified.check.rows:,} |" in text
    assert "spam-batch classify inbox.csv --out labeled.csv --bundle FOLDER" in text
    assert "## What it is not for" in text and "## Data" in text
    labels = opened.manifest.labels
    is_ruled = "From the probability 0.5 on a message is spam." in text
    assert is_ruled == (labels == ["ham", "spam"])


def test_verify_writes_it_again(copied):
    run, bundle = copied
    before = (bundle / CARD).read_text(encoding="utf-8")
    report = json.loads((bundle / VERIFY).read_bytes())
    report["machine"]["cpu"] = "another"
    (bundle / VERIFY).write_text(json.dumps(report))
    verify_bundle(bundle, run, "cpu", progress=False)
    assert open_bundle(bundle).read(CARD).decode() == before


def test_verify_of_an_older_bundle_makes_none(copied, write_hashes_anew):
    run, bundle = copied
    (bundle / CARD).unlink()
    write_hashes_anew(bundle)
    (bundle / VERIFY).write_text("{}")
    verify_bundle(bundle, run, "cpu", progress=False)
    assert not (bundle / CARD).exists()
    assert CARD not in open_bundle(bundle).manifest.files
