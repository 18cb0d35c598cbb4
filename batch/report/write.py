"""Write the report page of a labelled file."""

from batch.report.findings import Findings
from batch.report.labelled_file import Request, read_labelled
from batch.writing.atomic import replace_file, storage_errors, write_all
from batch.writing.output import is_stream, open_stream
from batch.writing.target import check_not_input, check_replaceable, resolve_path


def write_report(request: Request) -> Findings:
    """Write the page to ``request.out``, which appears when it is whole.

    Raises:
        SpamBatchError: it cannot be read, or not be written.
    """
    from batch.report.page import START, draw_page

    if is_stream(request.out):
        found = read_labelled(request)
        with open_stream(request.out) as file:
            write_all(file, draw_page(found).encode("utf-8"))
        return found
    target = resolve_path(request.out)
    check_not_input(request.out, request.source)
    check_replaceable(target, START.encode(), "is not a report of spam-batch; give another --out")
    found = read_labelled(request)
    with storage_errors(request.out):
        replace_file(target, draw_page(found).encode("utf-8"), target, ".report", 0o666)
    return found
