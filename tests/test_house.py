"""The house stays as it was drawn: sizes, folders, names, locks, contracts."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from chaos.engine.catalogue import names
from chaos.model.verdict import Verdict

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


def declared() -> set[str]:
    """Return the names of what pyproject asks for, directly."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    return {re.split(r"[\[~=><!; ]", w, maxsplit=1)[0].lower() for w in wanted}


def test_the_lock_holds_every_direct_dependency() -> None:
    """What pyproject asks for is pinned."""
    pinned = {
        line.split("==", 1)[0].split("[", 1)[0]
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if "==" in line and not line.startswith((" ", "#"))
    }

    assert declared() <= pinned


def test_what_is_imported_is_declared() -> None:
    """No module rests on a package that only another package asks for."""
    imported = {name for path in MODULES for name in top_level_imports(path)}
    foreign = imported - FOLDERS - set(sys.stdlib_module_names)
    owners = packages_distributions()

    undeclared = {
        name
        for name in foreign
        if not {owner.lower().replace("_", "-") for owner in owners.get(name, [])} & declared()
    }
    assert not undeclared


def top_level_imports(path: Path) -> set[str]:
    """Return the first parts of the names of all modules that `path` imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return {name.split(".", 1)[0] for name in found}


def test_every_silenced_rule_says_why() -> None:
    """A rule that is off for a file or for all has its reason on its line."""
    text = (ROOT / "pyproject.toml").read_text()
    rules = re.findall(r'^  "([A-Z]+\d+)",(.*)$', text, re.MULTILINE)

    assert rules
    assert not [rule for rule, rest in rules if not re.search(r"# \S", rest)]


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


def test_readme_names_what_is_there() -> None:
    """Every link leads to a file, every `make` target exists, and every scenario and exit code is in its table."""
    text = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    links = [x for x in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in x]
    targets = re.findall(r"`make ([a-z0-9-]+)", text)

    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
    assert targets
    assert not [t for t in targets if not re.search(rf"^{t}:", makefile, re.MULTILINE)]
    assert not [name for name in names(ROOT) if f"| `{name}` |" not in text]
    assert not [v.name for v in Verdict if f"| {v.exit_code} | {v.name} |" not in text]


def test_scripts_can_be_run() -> None:
    """What has a first line for the shell is executable, as git keeps it."""
    for path in tracked():
        with path.open("rb") as opened:
            if opened.read(2) == b"#!":
                assert os.access(path, os.X_OK), path


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
