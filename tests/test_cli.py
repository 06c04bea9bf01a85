"""Bad input ends in one clear line and exit code 2 before anything starts."""

from __future__ import annotations

import socket
import textwrap
from pathlib import Path

import pytest

from chaos import cli
from chaos.engine import catalogue
from chaos.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run the command line in this process and return (exit code, standard error)."""
    code = cli.main(arguments)
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "redis-dwn"), "did you mean 'redis-down'"),
        (("run", "redis-down", "--runtime", "dokcer"), "unknown runtime 'dokcer'"),
        (("run", "redis-down", "--time-scale", "0"), "expected 1 (real time) to 150"),
        (("run", "redis-down", "--time-scale", "x"), "invalid float value"),
        (("run", "redis-down", "--time-scale", "nan"), "expected 1 (real time) to 150"),
        (("run", "redis-down", "--rate", "-1"), "expected 0 to 2000"),
        (("run",), "name scenarios"),
        (("run", "redis-down", "--all"), "one of the three"),
        (("run", "redis-down", "--out", "/proc/nope"), "cannot be written"),
        (("nonsense",), "invalid choice"),
        (("judge", "/nonexistent"), "no run folder"),
        (("report", "/nonexistent"), "holds no run.json"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    """The line shows the value, what was expected and the next step."""
    code, error = run(capsys, *arguments)

    assert code == 2
    assert words in error
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_a_missing_tool_names_its_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tool that points nowhere is found before anything starts."""
    monkeypatch.setenv("CHAOSBED_TOOL_VERSITYGW", "/nonexistent/versitygw")
    code, error = run(capsys, "run", "redis-down")

    assert code == 2
    assert "versitygw" in error
    assert "correct or unset it" in error


def test_a_taken_port_block_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The block that was asked for must be free as a whole."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        base = port - port % 100
        code, error = run(
            capsys, "run", "redis-down", "--port-base", str(base), "--out", str(tmp_path)
        )

    assert code == 2
    assert str(base) in error


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SCENARIO = (", "line 1"),
        ("from chaos.model.scenario import Scenario\n\nSCENARIO = Scenario(nme='x')", "line 3"),
        ("SCENARIO = 3", "expected a Scenario"),
        ("X = 1", "SCENARIO"),
    ],
)
def test_a_broken_scenario_file_names_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    """A syntax error, a wrong argument, a wrong type and a missing value are one line each."""
    folder = tmp_path / "scenarios"
    folder.mkdir()
    (folder / "broken.py").write_text(textwrap.dedent(text))
    monkeypatch.setattr("scenarios.__path__", [str(folder)])
    monkeypatch.delitem(__import__("sys").modules, "scenarios.broken", raising=False)

    with pytest.raises(UsageError) as caught:
        catalogue.load_scenario(tmp_path, "broken")

    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_dry_run_shows_the_timeline_and_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """The rehearsal is a picture of the phases with injection and heal."""
    code = cli.main(("run", "redis-down", "--dry-run"))
    out = capsys.readouterr().out

    assert code == 0
    assert "refuse redis-cache" in out
    assert "heal" in out


def test_dry_run_says_what_would_be_inconclusive(capsys: pytest.CaptureFixture[str]) -> None:
    """A load of 0 is allowed and can prove nothing."""
    assert cli.main(("run", "redis-down", "--dry-run", "--rate", "0")) == 0
    assert "would be INCONCLUSIVE" in capsys.readouterr().out


def test_list_shows_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    """Names and claims, one line each."""
    assert cli.main(("list",)) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in catalogue.names(ROOT))
