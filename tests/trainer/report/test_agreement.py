"""The report's section on a student and its teacher."""

from trainer.report.agreement import draw_agreement

TEACHER = {"name": "big <one>", "digest": "d" * 64}


def part(count: int, messages: int, **values) -> dict:
    share = count / messages if messages else None
    return {**values, "messages": messages, "count": count, "share": share, "interval": [0.1, 0.3]}


def draw(gold: dict | None = None) -> str:
    agreement = {
        "messages": 50,
        "disagreement": part(10, 50),
        "by_class": [part(4, 30, label="a&b"), part(6, 20, label="c"), part(0, 0, label="d")],
        "by_score": [part(10, 50, **{"from": 0.0, "to": 1.0})],
        "curve": {"asked": [0.0, 0.05, 0.5], "left": [0.2, 0.04, 0.0]},
        "gold": gold,
    }
    return draw_agreement(agreement, TEACHER).replace("\xa0", " ")


def test_counts_curve_and_tables() -> None:
    page = draw()
    for text in (
        "the bundle big &lt;one&gt; (digest " + "d" * 64 + ")",
        "Of 50 test messages the student labels 10 otherwise: 20.00 %, 95 % interval 10.00 % to "
        "30.00 %.",
        '<svg id="asked-again" role="img"',
        '<th scope="row">a&amp;b</th><td>30</td><td>4</td><td>13.33 %</td>',
        '<th scope="row">d</th><td>0</td><td>0</td><td>–</td>',
    ):
        assert text in page, text
    assert "gold" not in page


def test_gold_labels() -> None:
    gold = {"student": part(1, 20), "student_where_both": part(1, 10), "teacher": part(2, 10)}
    assert (
        " 20 of them have a gold label; the student labels 5.00 % of these wrong. Where the "
        "teacher labelled them too (10), it labels 20.00 % wrong, and the student 10.00 %."
    ) in draw(gold)
    none = {**gold, "student": part(0, 0)}
    assert "gold" not in draw(none)
