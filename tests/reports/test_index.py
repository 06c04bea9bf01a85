"""The index over all runs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from chaos.errors import UsageError
from chaos.model.verdict import Verdict
from reports.__main__ import main
from reports.index import render_index

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_runs_are_listed_newest_first_with_their_numbers(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    """The order is that of the start, whatever the folders are called."""
    make_run("b-old", started_at="2026-03-14T08:00:00+00:00")
    new = {"started_at": "2026-03-14T10:00:00+00:00", "verdict": Verdict.FAIL}
    make_run("a-new", fault_class="error", **new)
    make_run("c-middle", started_at="2026-03-14T10:30:00+01:00")
    html = render_index(tmp_path).read_text()
    runs = json.loads((tmp_path / "index.json").read_text())["runs"]

    assert [r["folder"] for r in runs] == ["a-new", "c-middle", "b-old"]
    assert html.rindex("2026-03-14 10:00:00") < html.rindex("2026-03-14 09:30:00")
    assert runs[0]["verdict"] == "FAIL"
    assert runs[0]["decided_by"] == "broken: availability holds, over the run"
    assert runs[2]["bad_fraction"] == 0
    assert runs[2]["first_detect_s"] == pytest.approx(1.94)


def test_links_lead_to_the_report_and_are_quoted(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    """A folder name is data: it is quoted in the link and escaped in the page."""
    folder = make_run('we"ird #1')
    (folder / "report.html").write_text("there")
    html = render_index(tmp_path).read_text()

    assert 'href="we%22ird%20%231/report.html"' in html


def test_a_run_without_a_verdict_is_unfinished_not_hidden(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    """A killed run is listed, with what is known of it; other folders and files are not runs."""
    (make_run("20260314T092653Z-redis-down") / "run.json").unlink()
    (tmp_path / "notes").mkdir()
    html = render_index(tmp_path).read_text()
    (run,) = json.loads((tmp_path / "index.json").read_text())["runs"]

    assert run["verdict"] == "UNFINISHED"
    assert run["scenario"] == "redis-down"
    assert "1 UNFINISHED" in html


def test_an_empty_folder_gives_an_index_that_says_how_to_begin(tmp_path: Path) -> None:
    """No runs is a page, no folder is an error."""
    assert "No runs yet" in render_index(tmp_path).read_text()
    with pytest.raises(UsageError, match="is no folder"):
        render_index(tmp_path / "gone")


def test_the_command_line_renders_and_refuses_with_one_line(
    make_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reports, index and suite files come from one command; bad input is exit 2 and one line."""
    folder = make_run()

    assert main([str(folder), "--index", str(tmp_path)]) == 0
    assert (folder / "report.html").is_file()
    assert (tmp_path / "index.html").is_file()
    assert main([str(folder), "--suite", str(tmp_path)]) == 0
    assert (tmp_path / "junit.xml").is_file()
    assert (tmp_path / "summary.md").is_file()
    capsys.readouterr()
    assert main([str(tmp_path / "gone")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_index_does_without_pandas(tmp_path: Path) -> None:
    """Index and suite files start quickly, since only a report needs pandas."""
    code = (
        "import sys; from pathlib import Path; import reports.__main__; "
        "from reports.index import render_index; render_index(Path(sys.argv[1])); "
        "sys.exit('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60, check=False)

    assert done.returncode == 0
