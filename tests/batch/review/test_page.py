"""The review page in a browser: keys, undo, reload, what it saves, and hostile texts."""

import base64
import csv
import hashlib
import io
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from batch.cli.commands import main
from batch.report.html import POLICY
from batch.run.run_manifest import find_bounds

HOSTILE = [
    '<script>document.title = "run"</script><img src=http://example.invalid/x onerror=alert(1)>',
    "</script><script>document.title = 'run'</script>",
    "<!-- <script>",
    "\u202egnp.exe\u202c \u05e9\u05dc\u05d5\u05dd",
    "a NUL \0 in it",
    'quotes "", commas,\nlines\r\nand = 1+1',
    "",
]
ONLY_RANDOM = ("--unsure", 0, "--campaigns", 0)
BACKSPACE, CONTROL, RIGHT, LEFT = "\ue003", "\ue009", "\ue014", "\ue012"


@pytest.fixture
def review(tmp_path, monkeypatch, invoke):
    """Writes labeled.csv and its page -> the rows that the page shows."""
    monkeypatch.chdir(tmp_path)

    def review(texts, *args) -> Path:
        with open("labeled.csv", "w", encoding="utf-8", newline="") as file:
            rows = [(t, "spam" if at % 2 else "ham", f"0.{at % 2}5") for at, t in enumerate(texts)]
            csv.writer(file).writerows([("text", "label", "score"), *rows])
        result = invoke(main, "review", "labeled.csv", *args)
        assert (result.exit_code, result.stdout) == (0, ""), result.stderr
        return Path("review.html")

    return review


def read_csv(data: bytes) -> list[dict]:
    text = data.decode("utf-8")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def text_of(browser) -> str:
    return browser.run("return document.getElementById('text').textContent")


def count_of(browser) -> str:
    return browser.run("return document.getElementById('count').textContent")


def reload(browser, start: str) -> None:
    """Chromium's storage may be some milliseconds behind the page: then once more."""
    for _ in range(40):
        time.sleep(0.25)
        browser.reload()
        if count_of(browser).startswith(start):
            return


def test_no_page_without_keys_or_name(review, invoke):
    review(["a", "b"])
    Path("labeled.csv").write_text("text,label\na,unsure\n", encoding="utf-8")
    wanted = (
        "spam-batch: error: labeled.csv: has no row with another label than unsure, so the page "
        "would have no keys; name the labels, for example with --labels ham,spam\n"
    )
    done = invoke(main, "review", "labeled.csv", "--out", "other.html")
    assert (done.exit_code, done.stderr) == (65, wanted)
    done = invoke(main, "review", "labeled.csv", "--out", "other.html", "--labels", "ham,spam")
    assert done.exit_code == 0  # as advised
    done = invoke(main, "review", "labeled.csv", "--out", "-")
    message = "spam-batch: error: --out -: a page goes to a file; give a name\n"
    assert (done.exit_code, done.stderr) == (2, message)


def test_a_manifest_that_somebody_changed(review, invoke):
    review(["a", "b"])
    manifest = {"counts": {"labels": {"ham": 1, "spam": 1}}, "options": {"--threshold": "x"}}
    assert find_bounds(SimpleNamespace(**manifest)) == []


def test_keys_undo_and_reload(review, browser):
    page = review([f"message {at}" for at in range(10)], "--random", 4, *ONLY_RANDOM)
    browser.open(page)
    first = text_of(browser)
    assert count_of(browser) == "0 of 4 labelled, 0 skipped; random sample: 0 of 4"
    browser.press("s")
    assert text_of(browser) != first
    browser.press("H", " ")  # any case; space skips
    assert count_of(browser) == "2 of 4 labelled, 1 skipped; random sample: 2 of 4"
    browser.press(BACKSPACE, BACKSPACE)
    assert count_of(browser) == "1 of 4 labelled, 0 skipped; random sample: 1 of 4"
    browser.press("h", "x")  # x is no key
    reload(browser, "2 of 4")
    assert count_of(browser) == "2 of 4 labelled, 0 skipped; random sample: 2 of 4"
    browser.press(BACKSPACE)  # also what was done before it
    assert count_of(browser) == "1 of 4 labelled, 0 skipped; random sample: 1 of 4"
    browser.press(LEFT, "h", RIGHT, LEFT, "s", "s", "h", "s")
    assert browser.run("return document.getElementById('work').hidden")
    browser.press("s", held=CONTROL)
    saved = read_csv(browser.downloaded("corrections.csv"))
    assert list(saved[0]) == [
        "text", "label", "predicted", "score", "line", "row", "why", "weight"
    ]  # fmt: skip
    assert [row["label"] for row in saved] == ["ham", "spam", "spam", "ham"]
    assert saved[0]["text"] == first
    assert {(row["why"], row["weight"]) for row in saved} == {("random", "2.5")}
    labelled = read_csv(Path("labeled.csv").read_bytes())
    for row in saved:
        number = int(row["row"])
        assert int(row["line"]) == number + 1
        theirs = labelled[number - 1]
        assert (row["text"], row["predicted"]) == (theirs["text"], theirs["label"])
        assert float(row["score"]) == float(theirs["score"])
    # Another file begins with nothing.
    browser.open(review(["another"] * 3, "--random", "2"))
    assert count_of(browser).startswith("0 of ")


def test_hostile_texts(review, browser):
    page = review([*HOSTILE, "plain"], "--random", 8, *ONLY_RANDOM)
    text = page.read_text(encoding="utf-8")
    assert text.count("<script") == 2 and "\0" not in text and f'"{POLICY}; script-src' in text
    browser.open(page)
    seen = []
    while not browser.run("return document.getElementById('work').hidden"):
        seen.append(text_of(browser))
        assert browser.run("return document.querySelectorAll('#text *').length") == 0
        browser.press("h")
    shown = [text.replace("\0", "\u2400") or "(empty)"
             for text in HOSTILE]  # fmt: skip
    assert sorted(seen) == sorted([*shown, "plain"])
    assert browser.run("return document.title") == "labeled.csv: review"
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    browser.press("s", held=CONTROL)
    saved = read_csv(browser.downloaded("corrections.csv"))
    assert sorted(row["text"] for row in saved) == sorted([*HOSTILE, "plain"])


def test_by_keyboard_and_by_buttons(review, browser):
    """Each button has a key; a button that was clicked does not take the keys after it."""
    browser.open(review(["one", "two", "three"], *ONLY_RANDOM))
    names = "return [...document.querySelectorAll('button')].map(b => b.innerText.trim())"
    assert [name.replace("\n", " ") for name in browser.run(names)] == [
        "Hham", "Sspam", "Spaceskip", "⌫undo", "←back", "→next", "?what the model said",
        "Ctrl Ssave corrections.csv",
    ]  # fmt: skip
    model = "return document.getElementById('model').textContent"
    assert browser.run(model) == ""  # it would sway whoever labels
    browser.press("?")
    assert browser.run(model).startswith("The model said ")
    browser.run("document.querySelector('[data-label]').focus()")
    browser.run("document.querySelector('[data-label]').click()")
    browser.press(" ")
    assert count_of(browser) == "1 of 3 labelled, 1 skipped; random sample: 1 of 3"
    pressed = "return document.querySelector('[aria-pressed=true]').innerText"
    browser.press(LEFT, LEFT)
    assert "ham" in browser.run(pressed)


@pytest.mark.parametrize("width", [400, 1200])
def test_width(review, browser, width, tmp_path):
    browser.open(review([*HOSTILE, "w" * 2000, "word " * 2000]))
    browser.shoot(tmp_path / "page.png", width, 900)
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    for _ in range(9):
        assert browser.run(wide) == 0
        browser.press(RIGHT)


def test_without_storage(review, browser):
    """Where a browser keeps nothing, the page says so and works."""
    page = review(["one", "two"], *ONLY_RANDOM)
    data = page.read_text(encoding="utf-8").replace("localStorage", "nowhere")
    start = data.index('"use strict"') - 1
    script = data[start : data.index("</script>", start)]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    old = data[data.index("sha256-") + 7 :].split("'")[0]
    page.write_text(data.replace(old, digest), encoding="utf-8")
    browser.open(page)
    browser.press("h")
    assert count_of(browser) == (
        "1 of 2 labelled, 0 skipped; random sample: 1 of 2; this browser keeps nothing, so save "
        "before you close the page"
    )
