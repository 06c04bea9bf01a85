"""The house stays as it was drawn: sizes, folders, names, locks, contracts."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"app", "chaos", "compose", "loadtests", "reports", "scenarios", "tests"}
FILES = {"CHANGELOG.md", "Makefile", "README.md", "pyproject.toml", "requirements.txt"}
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60


def tracked(pattern: str = "") -> list[Path]:
    """Return the files of the repository that git knows and that exist."""
    command = [
        "git",
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        *([pattern] if pattern else []),
    ]
    out = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    ).stdout
    return [ROOT / line for line in out.splitlines() if (ROOT / line).is_file()]


MODULES = tracked("*.py")


def test_top_level_holds_only_what_the_design_names() -> None:
    """Seven folders and five files; what begins with a dot is for tools."""
    top = {p.relative_to(ROOT).parts[0] for p in tracked()}

    assert {name for name in top if not name.startswith(".")} == FOLDERS | FILES


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_and_functions_stay_short(path: Path) -> None:
    """A module has at most 400 lines, a function at most 60."""
    text = path.read_text()
    assert text.count("\n") <= MAX_MODULE_LINES

    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or node.lineno) - node.lineno < MAX_FUNCTION_LINES, node.name


@pytest.mark.parametrize("path", tracked("tests/*.py"), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_test_says_its_claim(path: Path) -> None:
    """A test's docstring is the claim that it proves."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
            "test_"
        ):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_import_contracts_hold() -> None:
    """Who may import whom is checked, and nothing runs in a circle."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-2000:]


def test_the_lock_has_hashes_and_names_no_address() -> None:
    """Every pinned package carries hashes; where it comes from is the machine's business."""
    text = (ROOT / "requirements.txt").read_text()
    pins = [line for line in text.splitlines() if re.match(r"^[a-z0-9]", line)]

    assert len(pins) > 50
    assert all(line.rstrip().endswith("\\") for line in pins)
    assert "://" not in text


def test_the_lock_holds_every_direct_dependency() -> None:
    """What pyproject asks for is pinned."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    names = {re.split(r"[\[~=><!; ]", w, maxsplit=1)[0].lower() for w in wanted}
    pinned = {
        line.split("==", 1)[0].split("[", 1)[0]
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if "==" in line and not line.startswith((" ", "#"))
    }

    assert names <= pinned


def test_version_stands_alike_in_changelog_and_project() -> None:
    """The newest entry of the changelog is the project's version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(
        r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )

    assert newest is not None
    assert newest[1] == project


def test_every_make_target_has_help() -> None:
    """`make help` is the map: a target without a line there does not exist for people."""
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None

    for target in phony[1].split():
        assert re.search(rf"^{target}:.*## \S", text, re.MULTILINE), target


def test_no_path_of_a_machine_stands_in_the_repository() -> None:
    """What is committed works in any folder."""
    pattern = re.compile(
        r"(?<![\w.])/(?:" + "|".join(("wor" + "k", "roo" + "t", "hom" + "e")) + r")/\w"
    )
    for path in tracked():
        if path.suffix in {".py", ".toml", ".yaml", ".yml", ".md", ".sh", ".json", ""}:
            assert not pattern.search(path.read_text(errors="ignore")), path


def test_the_engine_package_imports_nothing_at_its_top() -> None:
    """`chaos/__init__.py` stays a docstring, so that Locust's gevent process never meets asyncio."""
    tree = ast.parse((ROOT / "chaos" / "__init__.py").read_text())

    assert len(tree.body) == 1
    assert ast.get_docstring(tree)
