"""JUnit XML: one suite a scenario, one test case a finding.

GitLab drops suite names, properties and failure messages, so the numbers stand in the test's name
and in the text of the failure as well. FAIL is `<failure>`; INCONCLUSIVE and ERROR are `<error>`:
nothing was proved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from chaos.errors import UsageError
from chaos.model.verdict import Finding, Verdict
from reports.folder import read_result, write_atomically
from reports.wording import amount, clean, tally, total_s

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from chaos.model.run import RunResult


def write_suite_junit(folders: Sequence[Path], path: Path) -> None:
    """Merge the results of several run folders into one JUnit file, in the given order.

    A folder without a readable `run.json` becomes a suite with one `<error>`: a run that is missing
    never passes.
    """
    root = ET.Element("testsuites")
    for folder in folders:
        try:
            suite = _suite(read_result(folder))
        except UsageError as error:
            suite = _broken(folder.name, str(error))
        root.append(suite)
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    root.set("time", f"{sum(float(suite.get('time', '0')) for suite in root):.3f}")
    ET.indent(root)
    write_atomically(
        path,
        '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, "unicode") + "\n",
    )


def _suite(result: RunResult) -> ET.Element:
    suite = ET.Element(
        "testsuite",
        name=clean(result.scenario),
        timestamp=clean(result.started_at),
        time=f"{total_s(result):.3f}",
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in (
        ("claim", result.claim),
        ("verdict", result.verdict.value),
        ("runtime", result.runtime),
        ("time_scale", result.time_scale),
        ("seed", result.seed),
    ):
        ET.SubElement(properties, "property", name=name, value=clean(value))
    for finding in result.findings:
        suite.append(_case(result.scenario, finding))
    if result.verdict.exit_code > max((f.verdict.exit_code for f in result.findings), default=0):
        text = result.problem or tally(result)
        suite.append(
            _case(
                result.scenario,
                Finding("run", "run", "run", result.verdict, None, None, "", text),
            )
        )
    _count(suite)
    return suite


def _case(scenario: str, finding: Finding) -> ET.Element:
    measured, limit = (
        amount(finding.measured, finding.unit),
        amount(finding.limit, finding.unit),
    )
    numbers = "; ".join(
        text
        for text, there in (
            (f"measured {measured}", finding.measured is not None),
            (f"limit {limit}", finding.limit is not None),
        )
        if there
    )
    name = f"{finding.kind}: {finding.name} in {finding.phase}" + (
        f" [{numbers}]" if numbers else ""
    )
    case = ET.Element(
        "testcase", classname=clean(f"chaosbed.{scenario}"), name=clean(name), time="0"
    )
    if finding.verdict is Verdict.PASS:
        ET.SubElement(case, "system-out").text = clean(finding.sentence)
        return case
    kind = "failure" if finding.verdict is Verdict.FAIL else "error"
    message = f"{finding.verdict.value} {finding.name}: {finding.sentence}"
    problem = ET.SubElement(case, kind, type=finding.verdict.value, message=clean(message))
    problem.text = clean(f"{scenario}, {name}\n{message}")
    return case


def _broken(name: str, why: str) -> ET.Element:
    suite = ET.Element("testsuite", name=clean(name), time="0")
    suite.append(_case(name, Finding("run", "run", "run", Verdict.ERROR, None, None, "", why)))
    _count(suite)
    return suite


def _count(suite: ET.Element) -> None:
    suite.set("tests", str(len(suite.findall("testcase"))))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("errors", str(len(suite.findall("testcase/error"))))
