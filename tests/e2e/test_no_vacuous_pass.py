"""redis-down passes when all is well and never when something that it rests on is broken."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chaos.engine.injectors.registry import injector_for
from chaos.model.verdict import Verdict
from chaos.runtime.monitoring import render
from tests.e2e.conftest import ROOT, TIME_SCALE, findings, run_once

if TYPE_CHECKING:
    from chaos.engine.session import Session
    from chaos.model.faults import Fault

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


async def test_redis_down_passes(tmp_path: Path) -> None:
    """The fault is confirmed and witnessed, cached routes degrade, the two alerts fire and resolve, nothing is lost."""
    result = await run_once(tmp_path)

    assert result.verdict is Verdict.PASS, findings(result)
    injection = result.injections[0]
    assert injection.confirmed_s is not None
    assert injection.healed_s is not None
    assert injection.witness["touched"] is True
    fired = {a.name: a for a in result.alerts if a.expected == "fires"}
    assert set(fired) == {"CacheDown", "DependencyDown"}
    assert all(a.fired_s is not None and a.resolved_s is not None for a in fired.values())
    assert result.honesty["unaccounted"] == 0
    assert result.arrivals["degraded"] > 2_000


class IdleInjector:
    """Asks for nothing; reads back or claims success, as told."""

    def __init__(self, fault: Fault, *, lies: bool) -> None:
        self.real, self.lies = injector_for(fault), lies

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    async def inject(self, *_: object, **__: object) -> None:
        """Do nothing."""

    async def confirm(self, *arguments: Any, **named: Any) -> Any:
        """Read back truly, or lie."""
        if not self.lies:
            return await self.real.confirm(*arguments, **named)
        return None


@pytest.mark.parametrize("lies", [False, True], ids=["honest", "lying"])
async def test_an_injector_that_does_nothing_is_inconclusive(tmp_path: Path, lies: bool) -> None:  # noqa: FBT001
    """Read-back finds it out; when even the read-back lies, the witness does."""
    result = await run_once(tmp_path, injectors=lambda fault: IdleInjector(fault, lies=lies))

    assert result.verdict is Verdict.INCONCLUSIVE, findings(result)
    assert any(f.kind == "witness" and f.verdict is Verdict.INCONCLUSIVE for f in result.findings)


async def test_no_load_is_inconclusive(tmp_path: Path) -> None:
    """Without arrivals nothing is proved, whatever the alerts do."""
    result = await run_once(tmp_path, rate_rps=0)

    assert result.verdict is Verdict.INCONCLUSIVE, findings(result)


async def test_a_backend_without_its_fallback_fails(tmp_path: Path) -> None:
    """Errors instead of degraded answers are a FAIL, on sound evidence."""
    patched = str(Path(__file__).parent / "without_fallback")

    async def break_app(session: Session) -> None:
        await session.stack.replace("app", environment={"PYTHONPATH": patched})

    result = await run_once(tmp_path, before=break_app)

    assert result.verdict is Verdict.FAIL, findings(result)
    assert any(f.kind == "degradation" and f.verdict is Verdict.FAIL for f in result.findings)


async def test_a_rule_with_a_wrong_label_fails(tmp_path: Path) -> None:
    """CacheDown that names another dependency is a missing alert and an unexpected one."""
    path = ROOT / "compose" / "prometheus" / "rules" / "dependencies.yml"
    text = path.read_text()
    wrong = text.replace("dependency: redis-cache", "dependency: redis-broker", 1)
    assert wrong != text
    mounted = "/etc/prometheus/rules/dependencies.yml"

    async def break_rule(session: Session) -> None:
        rendered = render("prometheus", mounted, wrong, TIME_SCALE)
        await session.stack.replace("prometheus", files={mounted: rendered})

    result = await run_once(tmp_path, before=break_rule)

    assert result.verdict is Verdict.FAIL, findings(result)
    failed = {f.name for f in result.findings if f.verdict is Verdict.FAIL}
    assert any("CacheDown" in name for name in failed)
    assert "all other alerts silent" in failed


async def test_a_dead_prometheus_is_never_a_verdict_about_the_backend(tmp_path: Path) -> None:
    """Alerts that nobody evaluates are neither silent nor missing: INCONCLUSIVE or ERROR."""

    async def kill(session: Session) -> None:
        await session.stack.kill("prometheus")

    result = await run_once(tmp_path, at_phase=("fault", kill))

    assert result.verdict in {Verdict.INCONCLUSIVE, Verdict.ERROR}, findings(result)
