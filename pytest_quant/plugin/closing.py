"""Closing: what a run leaves when all tests are over: files, the repo's hook, the summary."""

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_quant.errors import in_brief
from pytest_quant.plugin.once import Once, shorten
from pytest_quant.plugin.settings import Settings
from pytest_quant.plugin.terminal_line import line_writer
from pytest_quant.report.document import Report
from pytest_quant.report.set_aside import put_back


@dataclass(slots=True)
class Closing:
    """The end of a run; not on workers.

    Args:
        config: of the run.
        settings: where files go, and the table's format.
        report: of the run.
        once: what the terminal has told already.
        lines: for the end of the summary.
        proposal: of a test file, above the answer.
    """

    config: pytest.Config
    settings: Settings
    report: Report
    once: Once
    lines: list[str] = field(default_factory=list)
    proposal: list[str] = field(default_factory=list)

    def tell_hook(self) -> None:
        """Give the report to the repo's hook."""
        if not self.report.rows:
            return
        from pytest_quant.report.frame import frame_of

        try:
            self.config.hook.pytest_quant_report(
                report=copy.deepcopy(self.report.to_dict()), frame=frame_of(self.report)
            )
        # of a repo; table, files and answer do not depend on it, nor on what it does to what it is given
        except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:
            self.lines.append(f"the hook pytest_quant_report raised {in_brief(error)}")

    def write(self, exitstatus: int) -> None:
        """The files, which are there whatever becomes of the terminal."""
        from pytest_quant.report.files import report_written
        from pytest_quant.report.step_summary import summary_appended

        folder = self.settings.report
        if not (self.report.rows or self.report.tests or self.report.interrupted):
            if folder is not None and exitstatus in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
                put_back(folder)
            return
        if folder is not None:
            self.lines += report_written(self.report, folder)
        self.lines += summary_appended(self.report)

    def summarize(self, terminalreporter: Any, exitstatus: int) -> None:
        """Print the table and the answer, and let pytest say the rest in brief."""
        only_told = (self.config.getoption(name, False) for name in ("collectonly", "setupplan"))
        if not any(only_told):
            self._print(terminalreporter, exitstatus)
        shorten(terminalreporter)

    def _print(self, terminalreporter: Any, exitstatus: int) -> None:
        from pytest_quant.report.durations import durations_of
        from pytest_quant.report.terminal import answer_line, fitted, summary_lines

        write_line = line_writer(terminalreporter)
        terminalreporter.ensure_newline()
        terminalreporter.section("quantization")
        if not self.report.rows:
            for line in fitted(self._why_nothing(exitstatus)):
                write_line(line)
        else:
            for line in summary_lines(self.report, self.settings.format, self.once.told):
                write_line(line)
            if self.settings.durations:
                write_line(durations_of(self.report, self.settings.format))
        for line in self.proposal:
            write_line(line)
        if not (self.report.rows or self.report.tests):
            return
        for line in fitted(answer_line(self.report, self.once.told)):
            write_line(line)
        for line in self.lines:
            write_line(line)

    def _why_nothing(self, exitstatus: int) -> str:
        """What to say in place of a table."""
        if exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            return "nothing was judged (see the errors)"
        if self.report.tests:
            return "nothing was judged: no variant was built"
        if self.report.deselected:
            from pytest_quant.report.part_of_tests import lacking_in
            from pytest_quant.report.text import printable

            return f"nothing was judged: {'; '.join(map(printable, lacking_in(self.report)))}"
        if self.settings.variants is not None:
            named = ",".join(self.settings.variants)
            return f"no test used variants of --quant-variants={named} alone, so nothing was judged"
        return "no test used a variant (quant_static, quant_qat, ...), so nothing was judged"
