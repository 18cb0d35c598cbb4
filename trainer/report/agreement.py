"""The report's section on a student and its teacher."""

from trainer.report import figures, html
from trainer.report.html import escape, percent

MOST_CLASSES = 30  # of the table


def draw_agreement(agreement: dict, teacher: dict) -> str:
    """What :func:`trainer.evaluation.agreement.measure_agreement` found, as HTML.

    Args:
        teacher: of ``config.json``.
    """
    total = agreement["disagreement"]
    low, high = (percent(end) for end in total["interval"])
    text = (
        f"<p>The labels of this run are those of the teacher, the bundle "
        f"{escape(teacher['name'])} (digest {escape(teacher['digest'])}). Of "
        f"{agreement['messages']:,} test messages the student labels {total['count']:,} otherwise"
        f": {percent(total['share'] or 0)}, 95 % interval {low} to {high}.{_gold(agreement)}</p>"
    )
    curve = agreement["curve"]
    note = (
        "The messages that the student is least sure of are asked of the teacher again. The "
        "disagreement is a share of all test messages; on text of another source it is higher."
    )
    drawn = html.figure(figures.plot_asked(curve["asked"], curve["left"]), note)
    by_class = [[escape(part["label"]), *_cells(part)] for part in agreement["by_class"]]
    by_score = [
        [f"{part['from']:.1f} to {part['to']:.1f}", *_cells(part)] for part in agreement["by_score"]
    ]
    tables = [
        _table("Teacher's class", by_class[:MOST_CLASSES]),
        _table("Student's score", by_score),
    ]
    return f'{text}{drawn}<div class="columns">{"".join(tables)}</div>'


def _gold(agreement: dict) -> str:
    gold = agreement["gold"]
    if not gold or not gold["student"]["messages"]:
        return ""
    student, both, teacher = (gold[name] for name in ("student", "student_where_both", "teacher"))
    text = (
        f" {student['messages']:,} of them have a gold label; the student labels "
        f"{percent(student['share'])} of these wrong."
    )
    if teacher["messages"]:
        text += (
            f" Where the teacher labelled them too ({teacher['messages']:,}), it labels "
            f"{percent(teacher['share'])} wrong, and the student {percent(both['share'])}."
        )
    return text


def _cells(part: dict) -> list[str]:
    share = "–" if part["share"] is None else percent(part["share"])
    return [f"{part['messages']:,}", f"{part['count']:,}", share]


def _table(head: str, rows: list[list[str]]) -> str:
    table = html.draw_table(rows, [head, "Messages", "Otherwise", "Share"])
    return f'<div class="card scroll">{table}</div>'
