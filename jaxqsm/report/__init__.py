"""One self-contained HTML report per scan."""

from jaxqsm.report.page import write_report as write_report
