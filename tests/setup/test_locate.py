"""Finding servers: an override, a wheel, or `.tools/`."""

from __future__ import annotations

import os
import sys

import pytest

from chaos.errors import SetupError
from chaos.setup.doctor import FROM_WHEELS
from chaos.setup.locate import tool


@pytest.mark.parametrize("name", FROM_WHEELS)
def test_servers_in_wheels_are_found(name: str) -> None:
    """What the lock installs needs no further step."""
    assert os.access(tool(name), os.X_OK)


def test_the_environment_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of the user's own takes the place of ours."""
    monkeypatch.setenv("CHAOSBED_TOOL_VALKEY_SERVER", sys.executable)

    assert str(tool("valkey-server")) == sys.executable


def test_a_wrong_override_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line shows the variable and its value, since no set-up would mend it."""
    monkeypatch.setenv("CHAOSBED_TOOL_PROMETHEUS", "/nowhere/prometheus")

    with pytest.raises(SetupError, match="CHAOSBED_TOOL_PROMETHEUS is '/nowhere/prometheus'"):
        tool("prometheus")


def test_a_missing_server_names_the_command_that_gets_it() -> None:
    """The line ends with the next step."""
    with pytest.raises(SetupError, match=r"absent-server is missing at .*; run `make setup`"):
        tool("absent-server")
