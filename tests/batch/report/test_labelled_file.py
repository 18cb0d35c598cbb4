"""``spam-batch report``: what the page says, what it keeps to itself, and what a browser does."""

import gzip
import os
import re
from pathlib import Path

import pytest

from batch.cli.commands import main
from batch.report.findings import Campaigns, normalize
from batch.report.html import POLICY

ATTACK = '<script>alert("1")</script><img src=http://example.invalid/x.png>'
SPAM = ["WIN £100 now!", "win 250 NOW", "Win now", "Call 555-0142", f"{ATTACK} 1", f"{ATTACK} 2"]


def make_table(spam=SPAM, ham: int = 14) -> bytes:
    """Two days of rows; the spam's scores fall from 0.98, the ham's rise from 0.01 by 0.03."""
    lines = ["id,received,text,label,score"]
    for number, text in enumerate(spam):
        field = text.replace('"', '""')
        when = f"2026-11-21T{number:02}:00:00"
        lines.append(f'{number},{when},"{field}",spam,{0.98 - number / 20:.6f}')
    for number in range(ham):
        when = "soon" if number == 3 else f"2026-11-22T{number:02}:30:00"
        lines.append(f"9{number},{when},see you at {number},ham,{0.01 + number * 0.03:.6f}")
    return ("\n".join(lines) + "\n").encode()


@pytest.fixture
def draw(invoke, tmp_path, monkeypatch):
    """Runs ``spam-batch report labeled.csv``; returns the page, no-break spaces as spaces."""
    monkeypatch.chdir(tmp_path)

    def run(*args, data=None, name="labeled.csv") -> str:
        Path(name).write_bytes(make_table() if data is None else data)
        result = invoke(main, "report", name, *args)
        assert (result.exit_code, result.output) == (0, "written: report.html\n")
        return Path("report.html").read_text(encoding="utf-8").replace("\xa0", " ")

    return run


def cells(page: str, section: str) -> list[list[str]]:
    """The rows of a section's table, without their HTML."""
    part = page.split(f"<h2>{section}</h2>")[1].split("</section>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", part, re.S)[1:]
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in rows]
    return [[re.sub("<[^>]*>", "", cell) for cell in row] for row in found]


def test_what_the_page_says(draw, tmp_path):
    page = draw("--date-column", "received")
    assert re.findall(r"<h2>(.*?)</h2>", page) == [
        "Labels", "Over time", "Scores", "Campaigns", "Least sure",
    ]  # fmt: skip
    for text in (
        "<h1>labeled.csv</h1>",
        "Rows<b>20</b><small>2 labels</small>",
        "Labelled spam<b>30.0 %</b><small>6 rows</small>",
        "Of spam, in campaigns<b>83.3 %</b><small>2 campaigns</small>",
        "<p>Share of spam, and rows, by the hour; times are those in received, without their "
        "time zones.</p>",
        "Left out: 1 row without a date in received that can be read.",
        "<title>2026-11-21 05:00: 1 row, 1 spam</title>",
        "Of 6 rows labelled spam, 5 have the text of another one, except for case, digits and "
        "punctuation: "
        "2 campaigns.",
        "20 rows, whose score is nearest to 0.565, where spam begins.",
        "The texts of messages are left out; --show-text shows them.",
    ):
        assert text in page, text
    assert cells(page, "Labels") == [["ham", "14", "70.0 %", ""], ["spam", "6", "30.0 %", ""]]
    assert cells(page, "Campaigns") == [
        ["3", "50.0 %", "2", "4", "0.880 – 0.980"],
        ["2", "33.3 %", "6", "7", "0.730 – 0.780"],
    ]
    least = cells(page, "Least sure")
    assert least[:3] == [
        ["21", "ham", "0.400000"], ["7", "spam", "0.730000"], ["20", "ham", "0.370000"],
    ]  # fmt: skip
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["labeled.csv", "report.html"]


def test_the_scores_are_counted_in_their_bins(draw):
    page = draw()
    bars = re.findall(r'<rect class="(\w+)"[^>]*><title>0.975 to 1.000: (\d) row<', page)
    assert bars == [("spam", "1")]
    assert len(re.findall(r'<rect class="other"[^>]*><title>', page)) == 14


def test_no_text_unless_it_is_asked_for(draw):
    page = draw("--date-column", "received")
    for text in ("WIN", "Call", "see you", "script", "555", "received="):
        assert text not in page
    page = draw("--show-text")
    assert '<div class="message" dir="auto">WIN £100 now!</div>' in page
    assert "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&lt;img src=http" in page
    assert "<script" not in page
    assert "The texts of messages are shown." in page


def test_names_are_escaped(draw):
    data = make_table().replace(b",ham,", b",<b>h\x01</b>,").replace(b"received", b"<i>day</i>")
    page = draw("--date-column", "<i>day</i>", data=data, name="<u>.csv")
    assert "<h1>&lt;u&gt;.csv</h1>" in page
    assert cells(page, "Labels")[0][0] == "&lt;b&gt;h\ufffd&lt;/b&gt;"
    assert "those in &lt;i&gt;day&lt;/i&gt;, without" in page
    assert not re.search(r"<[bui]>[^0-9–]", page)


def test_same_file_same_bytes(draw):
    assert draw("--date-column", "received") == draw("--date-column", "received")


def test_without_scores_and_dates(draw):
    data = b"text,label\na,ham\nb,spam\n"
    page = draw("--date-column", "text", data=data)
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["Labels", "Over time", "Campaigns"]
    assert "<p>No row has a date in text that can be read.</p>" in page
    assert "<p>Of 1 row labelled spam, no two have the same text.</p>" in page


def test_other_labels(draw):
    lines = [f"m {n},{'abc'[n % 3]},0.{n}" for n in range(1, 10)]
    data = "\n".join(["text,label,score", *lines]).encode()
    page = draw(data=data)
    unknown = (
        "<p>No row is labelled spam, so it is unknown which label the scores belong to; give a "
        "label with --positive-label.</p>"
    )
    assert page.count(unknown) == 2
    page = draw("--positive-label", "b", data=data)
    assert "Labelled b<b>33.3 %</b>" in page
    assert unknown not in page


def test_only_ham(draw):
    page = draw(data=make_table(spam=[]))
    assert "Labelled spam<b>0.0 %</b><small>0 rows</small>" in page
    assert "Of spam, in campaigns<b>–</b>" in page
    assert cells(page, "Least sure")[0] == ["15", "ham", "0.400000"]
    assert "14 rows, whose score is nearest to 0.5." in page


def test_no_rows(draw):
    page = draw("--date-column", "text", data=b"text,label,score\n")
    assert "Rows<b>0</b><small>0 labels</small>" in page
    assert "<p>There are no rows.</p>" in page


def test_records_that_cannot_be_read(draw):
    data = make_table() + b"1,2\n3,4\n"
    page = draw(data=data)
    assert (
        '<div class="banner" role="alert"><strong>2 records left out</strong>, which cannot be '
        "read; the first: line 22 has 2 fields, expected 5.</div>"
    ) in page
    assert "Rows<b>20</b>" in page


def test_the_advice_on_the_form_works(draw):
    table = make_table().replace(b",", b";")
    assert "20 rows" in draw("--delimiter", ";", data=table)
    assert "20 rows" in draw(data=b"sep=;\n" + table)


def test_other_forms_of_csv(draw):
    data = "text;label;score\r\ncafé;spam;0.9\r\n".encode("latin-1")
    args = ("--delimiter", ";", "--encoding", "latin-1", "--show-text")
    page = draw(*args, data=gzip.compress(data), name="labeled.csv.gz")
    assert '<div class="message" dir="auto">café</div>' in page


def test_pipes(run_cli, tmp_path):
    done = run_cli("batch", "report", "-", "--out", "-", input=make_table(), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"<!DOCTYPE html>")
    assert b"<h1>standard input</h1>" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "args", "exit_code", "message"),
    [
        (
            b"text,score\na,0.5\n", (), 65,
            "labeled.csv: the column 'label' is not there; columns: 'text', 'score'; label it "
            "first with: spam-batch classify",
        ),
        (
            b"text,label,label\n", (), 65,
            "labeled.csv: the column 'label' is there more than once; columns: 'text', 'label', "
            "'label'; label it first with: spam-batch classify",
        ),
        (
            b"text,label\n", ("--date-column", "day"), 65,
            "labeled.csv: the column 'day' is not there; columns: 'text', 'label'",
        ),
        (
            b"text,label,score\na,ham,0.5\nb,ham,secret\n", (), 65,
            "labeled.csv: line 3: the score is not a number from 0 to 1",
        ),
        (
            b"text,label,score\na,ham,nan\n", (), 65,
            "labeled.csv: line 2: the score is not a number from 0 to 1",
        ),
        (
            b"text,label\na,ham\n", ("--positive-label", "Spam"), 65,
            "labeled.csv: no row is labelled 'Spam'; labels: 'ham'",
        ),
        (
            b"text,label\n" + b"".join(b"a,%d\n" % n for n in range(1001)), (), 65,
            "labeled.csv: has more than 1,000 different labels; is 'label' the column that "
            "spam-batch wrote?",
        ),
        (
            b"id;text;label\n1;a;ham\n2;b;spam\n", (), 65,
            "labeled.csv: no text column found; the delimiter ';' fits; type: --delimiter ';'",
        ),
        (
            b"title\nid,text,label\n1,a,ham\n2,b,spam\n", (), 65,
            "labeled.csv: no text column found; line 1 does not name the columns; line 2 does; "
            "type: tail -n +2 labeled.csv > labeled.fixed.csv",
        ),
        (
            b"text,label\n1,a,ham\n2,b,spam\n", (), 65,
            "labeled.csv: line 1 has 2 fields, unlike all of the next 2 records; they have 3; to "
            "leave out line 1, type: tail -n +2 labeled.csv > labeled.fixed.csv",
        ),
        (
            b"1,see you at 7,ham\n" * 3, ("--text-column", "2"), 65,
            "labeled.csv: the column 'label' is not there; columns: 3 (they look like data, so "
            "they are not shown); label it first with: spam-batch classify",
        ),
        (b"", (), 65, "labeled.csv: the file is empty; its first line must name the columns"),
        (None, (), 66, "cannot read labeled.csv: No such file or directory"),
        (
            b"text,label\n", ("--out", "labeled.csv"), 73,
            "labeled.csv is the input labeled.csv; give another --out",
        ),
        (b"text,label\n", ("--out", "."), 73, ". is a folder; give the name of a file"),
        (
            b"text,label\n", ("--out", "/dev/full"), 74,
            "writing /dev/full: No space left on device",
        ),
    ],
)  # fmt: skip
def test_what_goes_wrong(invoke, tmp_path, monkeypatch, data, args, exit_code, message):
    monkeypatch.chdir(tmp_path)
    if data is not None:
        Path("labeled.csv").write_bytes(data)
    result = invoke(main, "report", "labeled.csv", *args)
    assert result.stderr == f"spam-batch: error: {message}\n"
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert [path.name for path in tmp_path.iterdir()] == ["labeled.csv"] * (data is not None)


@pytest.mark.parametrize(("name", "format_"), [("a.jsonl", "JSON Lines"), ("a.pq", "Parquet")])
def test_what_is_no_csv(invoke, name, format_):
    result = invoke(main, "report", name)
    assert result.stderr == (
        f"spam-batch: error: {name} is {format_}; spam-batch report reads CSV\n"
    )
    assert result.exit_code == 2


def test_an_old_page_stays_until_the_new_one_is_whole(draw, tmp_path, monkeypatch, invoke):
    draw()
    old = (tmp_path / "report.html").read_bytes()

    def fail(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fsync", fail)
    result = invoke(main, "report", "labeled.csv", "--show-text")
    assert result.stderr == "spam-batch: error: writing report.html: Input/output error\n"
    assert result.exit_code == 74
    assert (tmp_path / "report.html").read_bytes() == old
    assert len(list(tmp_path.iterdir())) == 2


def test_another_file_is_not_replaced(draw, tmp_path, invoke):
    draw()
    (tmp_path / "mine.html").write_text("<!DOCTYPE html>\n<html>", encoding="utf-8")
    result = invoke(main, "report", "labeled.csv", "--out", "mine.html")
    assert (result.exit_code, result.output) == (
        73, f"spam-batch: error: {os.path.realpath('mine.html')} is not a report of spam-batch; "
        "give another --out\n"
    )  # fmt: skip
    assert invoke(main, "report", "labeled.csv").exit_code == 0  # our own is


def test_normalize():
    same = ("WIN £1000 now!!", "win 250 Now", "ＷＩＮ\nnow", "w-i-n now")
    assert {normalize(text) for text in same} == {"winnow"}
    assert normalize("Straße 1") == normalize("STRASSE")
    assert normalize("123 !?") == ""


def test_campaigns_in_a_table_that_is_full(draw, monkeypatch):
    campaigns = Campaigns(most=10)
    letters = "abcdefghijklmnopqrstuvwxyz"
    for line in range(400):
        campaigns.add("a big one", line, 0.9, None)
        campaigns.add(letters[line % 26] + letters[line // 26], line, 0.9, None)
    assert len(campaigns._held) <= 10
    biggest = campaigns.found()[0]
    assert biggest.rows <= 400 <= biggest.rows + campaigns.missed
    assert campaigns.missed < 100

    monkeypatch.setattr(Campaigns.__init__, "__defaults__", (4,))
    assert (
        "There were more distinct messages than are counted at once (4), and the rarest were "
        "dropped. So a campaign may have up to 1 row more than shown, or be missing."
    ) in draw(data=make_table(spam=["x now", "X now", *"abcdef"]))


def test_no_request_leaves_the_page(draw, tmp_path, open_page):
    text = draw("--show-text", "--date-column", "received")
    dom, asked = open_page(tmp_path / "report.html")
    assert asked == set()
    assert 'id="time"' in dom and 'id="scores"' in dom
    # The same with an image that is really there: stopped by the policy, else seen by this test.
    hostile = text.replace("</main>", '<img src="http://example.invalid/x.png"></main>')
    for name, content, expected in (
        ("guarded", hostile, set()),
        ("open", hostile.replace(POLICY, ""), {"http://example.invalid/x.png"}),
    ):
        page = tmp_path / f"{name}.html"
        page.write_text(content, encoding="utf-8")
        assert open_page(page)[1] == expected


@pytest.mark.parametrize("width", [400, 1200])
def test_figures_have_a_size(draw, tmp_path, width, measure_figures):
    draw("--show-text", "--date-column", "received")
    sizes = measure_figures(tmp_path / "report.html", width)
    assert sizes.pop("overflow") == 0
    assert set(sizes) == {"time", "scores"}
    assert min(sizes.values()) > 100, sizes
