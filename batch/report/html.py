"""The frame of an HTML report, shared with ``trainer.report``: one file without scripts."""

import html
import re

# Nothing is loaded from outside the page, and no script runs.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def escape(text: str) -> str:
    """Text for HTML, also in an attribute. Characters that HTML forbids become U+FFFD.

    >>> escape("<b>\\0")
    '&lt;b&gt;\ufffd'
    """
    return html.escape(_FORBIDDEN.sub("\ufffd", text))


def percent(part: float, whole: float = 1, digits: int = 1) -> str:
    """A share in percent, with a no-break space before the sign; a dash if ``whole`` is 0.

    >>> percent(1, 8).replace("\\xa0", " ")
    '12.5 %'
    """
    return f"{100 * part / whole:.{digits}f}\u00a0%" if whole else "–"


def draw_document(
    title: str, header: str, body: str, style: str, comment: str = "", policy: str = POLICY
) -> str:
    """The whole document. ``title`` is text, ``header`` and ``body`` are HTML.

    Args:
        comment: an HTML comment after the first line, by which a page is recognized.
        policy: what the page may load and run.
    """
    return f"""<!DOCTYPE html>
{comment}<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{style}
</style>
</head>
<body>
<main>
<header>
<h1>{escape(title)}</h1>
{header}
</header>
{body}
</main>
</body>
</html>
"""
