"""The lines and counts of a summary."""

from batch.model.classifier import Classifier
from batch.run.summary import Summary
from batch.writing.progress import Progress


def test_the_summary(classifier, make_bundle, monkeypatch):
    labels = {"ham": 1230, "spam": 3}
    done = Progress(
        records=1234, rejects=1, labels=labels, truncated=2, blank_lines=1, is_complete=True
    )
    summary = Summary(classifier.bundle, "message", "out.csv", "out.rejects.csv", done)
    rest = [
        "weights: none, the graph is a sum",
        "2 messages cut to 32 tokens",
        "1 blank line skipped",
        "WARNING: in.csv has grown",
        "rejected: out.rejects.csv",
        "written: out.csv",
    ]
    summary.warnings.append("in.csv has grown")
    first = ["1,234 records in, 1,233 rows out, 1 reject: 1,230 ham, 3 spam"]
    assert summary.lines() == [*first, "text column: message", *rest]
    summary.session, summary.labelled, summary.seconds = classifier.session, 1000, 2.0
    summary.precision, summary.repeated = "fp32", 125
    speed = [
        "500 rows a second on cpu in fp32 (1 thread), 2.0 s; stub",
        "125 repeated texts (12.5 %)",
    ]
    assert summary.lines() == [*first, "text column: message", *speed, *rest]
    assert summary.counts() == {"records": 1234, "rows": 1233, "rejects": 1, "labels": labels}

    partial_data = make_bundle(training={"data": {"is_partial": True}})
    other = Classifier.load(partial_data, "cpu", 1)
    monkeypatch.setattr(other.session, "note", "no GPU; running on the CPU")
    empty = Summary(other.bundle, "text", "standard output", "")
    empty.session, empty.precision = other.session, "fp32"
    assert empty.lines() == [
        "0 records in, 0 rows out: 0 ham, 0 spam",
        "text column: text",
        "0 rows a second on cpu in fp32 (1 thread), 0.0 s; stub",
        "weights: none, the graph is a sum",
        "WARNING: no GPU; running on the CPU",
        "WARNING: the model was trained on an incomplete copy of its data",
        "written: standard output",
    ]
