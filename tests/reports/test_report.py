"""`report.html`: one page that stands alone, says everything, and lets nothing in."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from time import perf_counter
from typing import TYPE_CHECKING

import pytest

from chaos.errors import UsageError
from chaos.model.verdict import Verdict
from reports.build import render

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VOID = {"meta", "br", "link", "img", "hr", "input"}
SECTIONS = (
    "findings",
    "timeline",
    "alerts",
    "degradation",
    "recovery",
    "faults",
    "honesty",
    "configuration",
)
HOSTILE = "</title><script>alert(1)</script>\"'><svg onload=x> {{ 7*7 }} \x00\x1b"


class Page(HTMLParser):
    """A strict reader: every element is closed by its own end tag; keeps what it met."""

    def __init__(self, html: str) -> None:
        """Read `html` to its end."""
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element and push it unless it has no end tag."""
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that closes itself."""
        self.tags.append(tag)
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice: {names}"
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost element, which must be this one."""
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        """Keep text that is shown."""
        if not {"style", "title", "desc"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        """The visible text with single spaces."""
        return " ".join(" ".join(self.words).split())

    def values(self, attribute: str) -> list[str]:
        """Return every value of an attribute."""
        return [value for name, value in self.attributes if name == attribute]


def rendered(folder: Path) -> tuple[str, Page]:
    """Render a folder and read its report."""
    render(folder)
    html = (folder / "report.html").read_text("utf-8")
    return html, Page(html)


def test_a_pass_shows_the_verdict_with_the_number_the_limit_and_the_interval(
    make_run: Callable[..., Path],
) -> None:
    """The first lines give verdict, claim, and the number, limit and interval that decided."""
    _, page = rendered(make_run())

    assert page.text.index("PASS") < page.text.index("redis-down") < page.text.index("Findings")
    assert "All 9 expectations held." in page.text
    assert "0 of 3962 arrivals bad (95 % CI 0 to 0.0969 %), limit 0.1 %" in page.text
    assert "every page is still answered in time" in page.text


def test_every_part_of_the_report_is_there(make_run: Callable[..., Path]) -> None:
    """From the findings down to the configuration, with the numbers that each one shows."""
    _, page = rendered(make_run())

    assert [s for s in (*SECTIONS, "exemplars") if s not in page.values("id")] == []
    for said in (
        'DependencyDown {dependency="redis-cache"}',
        "18.50 s",
        "refuse redis-cache",
        "connections refused 64",
        "breaker redis-cache closed",
        "Coordinated-omission gap",
        "1.38 ms",
        "21 %",
        "Rule evaluations missed",
        "api 100 %, exporter 99.4 %",
        "ok 3,398, degraded 1,002",
        "acknowledged 371, stored 371, lost 0, doubled 0",
        "c0ffee-",
        "sha256:5f1c0c5d9ad1",
        "chaosbed run redis-down --runtime local --time-scale 60 --rate 110 --seed 7",
        "/api/v1/videos/{video_id}/thumbnail",
    ):
        assert said in page.text


@pytest.mark.parametrize("fault_class", ["degraded", "error", "timeout", "censored", "dropped"])
def test_the_page_is_well_formed_and_needs_nothing_but_itself(
    make_run: Callable[..., Path], fault_class: str
) -> None:
    """No script, no external address, no resource, unique ids, and at most 150 KB."""
    html, page = rendered(make_run(fault_class=fault_class))

    assert not {"script", "link", "img", "iframe", "object", "base"} & set(page.tags)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", html)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert len(page.values("id")) == len(set(page.values("id")))
    assert set(page.values("href")) == {"../index.html"}
    assert len(html.encode()) <= 150 * 1024


def test_the_picture_has_a_title_a_description_and_labels_that_exist(
    make_run: Callable[..., Path],
) -> None:
    """A screen reader gets the time line in words: phases, faults, arrivals."""
    html, page = rendered(make_run())

    (labelled,) = page.values("aria-labelledby")
    assert set(labelled.split()) <= set(page.values("id"))
    assert "Phases: warm-up from 0 to 4 s, baseline from 4 to 16 s" in html
    assert "redis-cache from 16.06 s to 28.04 s" in html


def test_hostile_text_stays_text(make_run: Callable[..., Path]) -> None:
    """Markup, template code and control characters in recorded text are shown, never obeyed."""
    folder = make_run(
        claim=HOSTILE,
        problem=HOSTILE,
        command=HOSTILE,
        correlation_prefix=HOSTILE,
        scenario=HOSTILE,
        fault_class="error",
    )
    for name in ("injections.jsonl", "alerts.jsonl", "monitoring.json"):
        path = folder / name
        evil = json.dumps(HOSTILE)[1:-1]
        path.write_text(path.read_text().replace("redis-cache", evil).replace("scrapes", evil))
    html, page = rendered(folder)

    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7*7 }}" in page.text
    assert not re.search("[\x00-\x08\x0b-\x1f]", html)


def test_a_run_that_failed_early_names_what_is_missing(early_error: Path) -> None:
    """With only a plan and a result there is still the verdict, the reason, and what is missing."""
    _, page = rendered(early_error)

    assert "ERROR redis-down" in page.text
    assert "prometheus did not answer on /-/ready within 20 s" in page.text
    assert "arrivals.parquet : the ledger of arrivals" in page.text
    assert "No arrivals were recorded" in page.text
    assert [s for s in SECTIONS if s not in page.values("id")] == []


def test_a_result_alone_is_enough(early_error: Path) -> None:
    """Even without a plan there is a report that says so."""
    (early_error / "plan.json").unlink()
    _, page = rendered(early_error)

    assert "plan.json : the plan: phases, load, versions" in page.text


@pytest.mark.parametrize(
    "name", ["arrivals.parquet", "plan.json", "alerts.jsonl", "generator.json"]
)
def test_damaged_evidence_is_named_and_does_not_hide_the_verdict(
    make_run: Callable[..., Path], name: str
) -> None:
    """A half-written file leaves the verdict readable and is called damaged."""
    folder = make_run()
    (folder / name).write_text('{"half": ')
    if name == "alerts.jsonl":
        (folder / name).write_text('{"half": 1}\n')
    _, page = rendered(folder)

    assert "Evidence is damaged:" in page.text
    assert "PASS redis-down" in page.text


def test_without_arrivals_nothing_is_claimed_about_them(make_run: Callable[..., Path]) -> None:
    """Zero arrivals give no percentage, no latency and no picture of load."""
    _, page = rendered(make_run(rate_rps=0.0, verdict=Verdict.INCONCLUSIVE))

    assert "No arrivals, so nothing was answered." in page.text
    assert "1 of 9 findings could not be decided, so the run proves nothing." in page.text
    assert "nan" not in page.text


def test_an_unwitnessed_fault_is_what_the_first_sentence_is_about(
    make_run: Callable[..., Path],
) -> None:
    """INCONCLUSIVE is explained by the guard that failed, not by the SLOs that happened to hold."""
    _, page = rendered(make_run(witnessed=False, verdict=Verdict.INCONCLUSIVE))

    first = page.text[: page.text.index("Findings")]
    assert "confirmed but not witnessed" in first
    assert "no witness" in page.text


def test_ten_thousand_arrivals_render_within_a_second(make_run: Callable[..., Path]) -> None:
    """The time limit holds with the arrivals of a full-size run."""
    folder = make_run(rate_rps=250.0)
    render(folder)
    start = perf_counter()
    render(folder)

    assert perf_counter() - start < 1.0


def test_rendering_twice_gives_the_same_bytes(make_run: Callable[..., Path]) -> None:
    """A report depends on the folder alone, and nothing else is left in it."""
    folder = make_run()
    render(folder)
    names = ("report.html", "junit.xml", "summary.md")
    before = [(folder / name).read_bytes() for name in names]
    render(folder)

    assert [(folder / name).read_bytes() for name in names] == before
    assert not list(folder.glob(".*"))


def test_a_folder_without_a_result_is_refused_with_the_next_step(tmp_path: Path) -> None:
    """There is no verdict to show, so the error names the command that makes one."""
    with pytest.raises(UsageError, match=r"has no run\.json.*chaosbed judge"):
        render(tmp_path)
