"""What a person reads: one self-contained HTML page per scan."""

from jaxqsm.report.page import write_report as write_report
