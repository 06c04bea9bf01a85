"""The pins that people edit are read strictly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chaos.errors import UsageError
from chaos.setup.doctor import FROM_WHEELS
from chaos.setup.pins import ROOT, cache, read_pins

GOOD = """
[greeter]
module = "example.test/greeter"
version = "v1.2.3"
packages = [".", "cmd/help"]
binaries = { greeter = "greeter-server" }
verify = ["--version"]
"""


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ('version = "v1.2.3"', "", "greeter.version is missing; expected a text"),
        ("v1.2.3", "latest", "greeter.version is 'latest'; expected a full version"),
        ("verify =", "verfy =", "unknown key 'verfy' in [greeter] of tools.toml; did you mean"),
        ('["--version"]', '"--version"', "greeter.verify is '--version'; expected a list"),
        ('["--version"]', "[]", "greeter.verify is []; expected a list"),
        ('{ greeter = "greeter-server" }', "{}", "greeter.binaries is {}; expected"),
        ('"greeter-server"', "3", "greeter.binaries.greeter is 3; expected a text"),
        ("[greeter]", "greeter = 1\n[other]", "greeter is 1; expected a table"),
        ("[greeter]", "[greeter", "cannot be read"),
        (GOOD, GOOD + GOOD.replace("[greeter]", "[other]"), "named by two tables"),
    ],
)
def test_a_mistake_is_named_with_its_place(
    tmp_path: Path, before: str, after: str, expected: str
) -> None:
    """One line says which table and key is wrong and what would be right."""
    path = tmp_path / "tools.toml"
    path.write_text(GOOD.replace(before, after))

    with pytest.raises(UsageError, match=re.escape(expected)) as caught:
        read_pins(path)

    assert "\n" not in str(caught.value)


def test_a_pin_says_what_go_is_asked_for(tmp_path: Path) -> None:
    """All packages of a module are built in one call, each at the pinned version."""
    path = tmp_path / "tools.toml"
    path.write_text(GOOD)

    (pin,) = read_pins(path)

    assert pin.targets == ("example.test/greeter@v1.2.3", "example.test/greeter/cmd/help@v1.2.3")
    assert pin.folder.name == "greeter-v1.2.3"


def test_every_server_that_the_topology_asks_for_is_pinned_or_in_a_wheel() -> None:
    """`{tool:NAME}` in compose.yaml never names what no set-up gets."""
    asked = set(re.findall(r"\{tool:([a-z-]+)\}", (ROOT / "compose" / "compose.yaml").read_text()))
    got = {link for pin in read_pins() for _, link in pin.binaries} | set(FROM_WHEELS)

    assert asked
    assert asked <= got


def test_the_cache_is_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """`XDG_CACHE_HOME` is honoured when absolute and ignored otherwise, as its specification asks."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    absolute = cache()
    monkeypatch.setenv("XDG_CACHE_HOME", "elsewhere")
    relative = cache()

    assert absolute == Path("/elsewhere/chaosbed")
    assert relative == Path.home() / ".cache" / "chaosbed"
