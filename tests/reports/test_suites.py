"""JUnit and Markdown: the same verdict in the words of CI systems."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from chaos.model.verdict import Verdict
from reports.build import render
from reports.junit import write_suite_junit
from reports.summary import MAX_BYTES, write_suite_summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOSTILE = "]]> <b>|`x`*_@team_ \x0c \ud800 &amp; \n# heading"


def tree(path: Path) -> ET.Element:
    """Parse a file that this test has just written."""
    return ET.parse(path).getroot()  # noqa: S314 (our own file)


def cases(folder: Path, outcome: str) -> list[ET.Element]:
    """Return the test cases of a rendered folder that have a child called `outcome`."""
    root = tree(folder / "junit.xml")
    return [case for case in root.iter("testcase") if case.find(outcome) is not None]


def test_one_test_case_a_finding_with_its_numbers_in_the_name(
    make_run: Callable[..., Path],
) -> None:
    """A system that shows only names still shows what was measured and the limit."""
    folder = make_run()
    render(folder)
    root = tree(folder / "junit.xml")
    names = [case.get("name") for case in root.iter("testcase")]

    assert len(names) == 9
    assert "slo: availability holds in run [measured 0 %; limit 0.1 %]" in names
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("9", "0", "0")


def test_fail_is_a_failure_that_says_its_numbers(make_run: Callable[..., Path]) -> None:
    """FAIL becomes `<failure>`; its text alone tells scenario, number, interval and limit."""
    folder = make_run(fault_class="error", verdict=Verdict.FAIL)
    render(folder)
    (case,) = cases(folder, "failure")
    text = case.findtext("failure") or ""

    assert "redis-down" in text
    assert "1002 of 3962 arrivals bad (95 % CI 24 to 26.7 %), limit 0.1 %" in text
    assert not cases(folder, "error")


@pytest.mark.parametrize("values", [{"witnessed": False}, {"rate_rps": 0.0}])
def test_inconclusive_is_an_error_never_a_pass(
    make_run: Callable[..., Path], values: dict[str, object]
) -> None:
    """What could not be decided is `<error>`, so that no CI system counts it as passed."""
    folder = make_run(verdict=Verdict.INCONCLUSIVE, **values)
    render(folder)

    assert len(cases(folder, "error")) == 1


def test_an_early_error_is_an_error_although_it_has_no_findings(early_error: Path) -> None:
    """A suite without findings is never an empty, green suite."""
    render(early_error)
    (case,) = cases(early_error, "error")

    assert "prometheus did not answer" in (case.findtext("error") or "")


def test_several_runs_merge_into_one_file_and_a_missing_one_is_an_error(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    """The gate's file has one suite a run, in order; a run that left nothing is an error."""
    good = make_run("a")
    bad = make_run("b", fault_class="error", verdict=Verdict.FAIL, scenario="s3-down")
    path = tmp_path / "gate.xml"
    write_suite_junit([good, bad, tmp_path / "gone"], path)
    root = tree(path)

    assert [s.get("name") for s in root] == ["redis-down", "s3-down", "gone"]
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("19", "1", "1")


def test_hostile_text_keeps_the_xml_well_formed(make_run: Callable[..., Path]) -> None:
    """Control characters and CDATA ends in recorded text never break the file."""
    folder = make_run(problem=HOSTILE, claim=HOSTILE, scenario="a<b&c")
    render(folder)

    assert tree(folder / "junit.xml").find("testsuite") is not None


def test_the_summary_starts_with_the_verdict_and_a_table(make_run: Callable[..., Path]) -> None:
    """The first line is the verdict, the numbers stand in a table, failed findings say why."""
    folder = make_run(fault_class="error", verdict=Verdict.FAIL)
    render(folder)
    text = (folder / "summary.md").read_text()

    assert text.startswith("### ✕ **FAIL** redis-down")
    assert "| ✕ **FAIL** | slo: availability holds<br>1002 of 3962" in text
    assert "| 25.3 % | 0.1 % |" in text
    assert '| CacheDown{dependency="redis-cache"} | fires | 18.00 s | 1.94 s | 18.50 s |' in text


def test_hostile_text_cannot_leave_its_cell(make_run: Callable[..., Path]) -> None:
    """Pipes, newlines, HTML and mentions in recorded text are shown literally."""
    folder = make_run(claim=HOSTILE, problem=HOSTILE)
    render(folder)
    text = (folder / "summary.md").read_text()

    assert "<b>" not in text
    assert "\n# heading" not in text
    assert "@team" not in text
    assert r"\|\`x\`\*" in text


def test_the_gate_summary_has_all_verdicts_first_and_stays_within_64_kb(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    """Many runs give one table of all verdicts; the rest is cut before GitHub drops it all."""
    folders = [make_run(str(n)) for n in range(3)] * 25
    path = tmp_path / "summary.md"
    write_suite_summary([*folders, tmp_path / "gone"], path)
    text = path.read_text()

    assert text.startswith("## Chaos gate: 75 of 76 scenarios passed")
    assert text.index("! **ERROR** | gone") < text.index("### ✓ **PASS**")
    assert len(path.read_bytes()) <= MAX_BYTES
    assert "cut at 64 KB" in text
