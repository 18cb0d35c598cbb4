"""Write the report page of a labelled file."""

from batch.report.findings import Findings
from batch.report.labelled_file import ReportOptions, read_labelled
from batch.writing.atomic import replace_file, storage_errors, write_all
from batch.writing.output import is_stream, open_stream
from batch.writing.target import check_not_input, check_replaceable, resolve_path


def write_report(options: ReportOptions) -> Findings:
    """Write the page to ``options.out``, which gets its name when it is complete.

    Raises:
        SpamBatchError: the input cannot be read, or the page cannot be written.
    """
    from batch.report.page import START, draw_page

    if is_stream(options.out):
        found = read_labelled(options)
        with open_stream(options.out) as file:
            write_all(file, draw_page(found).encode("utf-8"))
        return found
    target = resolve_path(options.out)
    check_not_input(options.out, options.source)
    check_replaceable(target, START.encode(), "is not a report of spam-batch; give another --out")
    found = read_labelled(options)
    with storage_errors(options.out):
        replace_file(target, draw_page(found).encode("utf-8"), target, ".report", 0o666)
    return found
