"""The command line: arguments -> run -> exit code. Nothing here decides anything."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shlex
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from chaos.console import Console
from chaos.errors import ChaosError, UsageError, unknown

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from chaos.model.scenario import Scenario

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "reports" / "runs"
INTERRUPTED = 130
DEFAULT_TIME_SCALE = 60.0
MAX_TIME_SCALE = 150.0


class _Parser(argparse.ArgumentParser):
    """Bad arguments get one line and exit code 2, like every other bad input."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where the map is."""
        raise UsageError(f"{message}; see `{self.prog} --help`")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parser().parse_args(given)
        return int(options.act(options, given))
    except ChaosError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except (KeyboardInterrupt, asyncio.CancelledError):
        healed = "; every fault was healed" if given[:1] == ["run"] else ""
        sys.stderr.write(f"interrupted{healed}\n")
        return INTERRUPTED
    except BrokenPipeError:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 (a person gets one line, the trace goes to a file)
        trace = Path(tempfile.gettempdir()) / f"chaosbed-{os.getpid()}.trace"
        trace.write_text(traceback.format_exc())
        sys.stderr.write(f"error: chaosbed broke: {type(error).__name__}: {error}; see {trace}\n")
        return ChaosError.exit_code


def entry() -> NoReturn:
    """Be the console script `chaosbed`."""
    sys.exit(main())


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="chaosbed", description="Break Social Flow on purpose, and prove what it did."
    )
    commands = parser.add_subparsers(
        dest="command", required=True, parser_class=_Parser, metavar="COMMAND"
    )

    def add(name: str, act: object, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(act=act)
        return command

    listing = add("list", _list, "list the scenarios")
    listing.add_argument("--json", action="store_true", help="as JSON")
    add("setup", _setup, "get every server that a run needs")
    doctor = add("doctor", _doctor, "say what is missing on this machine and how to get it")
    doctor.add_argument("--json", action="store_true", help="as JSON")
    _add_run(add("run", _run, "run scenarios and judge them"))
    _add_stack(add("up", _up, "bring a stack up to play with"))
    add("down", _down, "end the living stack")
    add("status", _status, "show the living stack")
    inject = add("inject", _inject, "break something: KIND TARGET [name=value] [for=30s]")
    inject.add_argument("fault", nargs="+")
    add("heal", _heal, "undo every fault on the living stack")
    loadtest = add("loadtest", _loadtest, "open the Locust web UI on a living stack")
    loadtest.add_argument("--web-port", type=int, default=8089)
    _add_stack(loadtest)
    judge = add("judge", _judge, "judge a run folder again")
    judge.add_argument("folder", type=Path)
    report = add("report", _report, "render a run folder again (or the newest), and the index")
    report.add_argument("folder", type=Path, nargs="?")
    return parser


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument("names", nargs="*", metavar="SCENARIO")
    run.add_argument("--all", action="store_true", help="every scenario")
    run.add_argument("--gate", action="store_true", help="the CI set, with JUnit and summary")
    run.add_argument("--runtime", default="local", help="what brings the system up (default local)")
    run.add_argument(
        "--again", type=int, default=0, metavar="N", help="repeat an INCONCLUSIVE run up to N times"
    )
    run.add_argument("--rate", type=float, metavar="RPS", help="arrivals a second")
    run.add_argument("--seed", type=int, help="seed of the load")
    run.add_argument("--out", type=Path, default=RUNS, metavar="DIR", help="where run folders go")
    run.add_argument("--dry-run", action="store_true", help="show the timeline and stop")
    run.add_argument("--no-color", action="store_true", help="no colours")
    run.add_argument(
        "--json", action="store_true", help="one JSON line a verdict on standard output"
    )
    _add_stack(run)


def _add_stack(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--time-scale",
        type=float,
        default=DEFAULT_TIME_SCALE,
        metavar="S",
        help="compress alert time by S (default 60)",
    )
    command.add_argument("--port-base", type=int, metavar="PORT", help="first port of the block")


def _list(options: argparse.Namespace, _given: list[str]) -> int:
    from chaos.engine.catalogue import load_scenario, names

    scenarios = [load_scenario(ROOT, name) for name in names(ROOT)]
    if options.json:
        rows = [{"name": s.name, "claim": s.claim, "duration_s": s.duration_s} for s in scenarios]
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
    else:
        for scenario in scenarios:
            sys.stdout.write(
                f"{scenario.name:<18} {scenario.duration_s:4.0f} s  {scenario.claim}\n"
            )
    return 0


def _setup(_options: argparse.Namespace, _given: list[str]) -> int:
    from chaos.setup.build import run_setup

    run_setup(lambda text: print(text, flush=True))  # noqa: T201 (progress for people)
    return 0


def _doctor(options: argparse.Namespace, _given: list[str]) -> int:
    from chaos.setup.doctor import run_doctor

    return run_doctor(lambda text: print(text, flush=True), as_json=options.json)  # noqa: T201


def _run(options: argparse.Namespace, given: list[str]) -> int:
    from chaos.engine.catalogue import load_system
    from chaos.engine.preflight import check_tools
    from chaos.engine.rehearse import rehearse
    from chaos.engine.run_folder import check_writable
    from chaos.engine.session import RUNTIMES, read_topology
    from chaos.engine.suite import SuiteOptions, run_suite

    scenarios = _chosen(options)
    time_scale = _time_scale(options)
    if options.runtime not in RUNTIMES:
        raise unknown("runtime", options.runtime, RUNTIMES)
    system, topology = load_system(ROOT), read_topology(ROOT)
    rehearsals = [rehearse(scenario, system, topology, time_scale) for scenario in scenarios]
    if options.dry_run:
        for rehearsal in rehearsals:
            lines = [*rehearsal.lines, *(f"  would be INCONCLUSIVE: {d}" for d in rehearsal.doubts)]
            sys.stdout.write("\n".join(lines) + "\n")
        return 0
    check_tools(topology)
    out = options.out.resolve()
    check_writable(out)
    console = Console(colour=not options.no_color, as_json=options.json)
    for rehearsal in rehearsals:
        for doubt in rehearsal.doubts:
            console.note(f"will be INCONCLUSIVE: {doubt}")
    suite = SuiteOptions(
        root=ROOT,
        out=out,
        runtime=options.runtime,
        time_scale=time_scale,
        port_base=options.port_base,
        command=shlex.join(["chaosbed", *given]),
        gate=options.gate,
        again=options.again,
    )
    return _interruptible(run_suite(scenarios, system, topology, suite, console))


def _chosen(options: argparse.Namespace) -> list[Scenario]:
    from chaos.engine.catalogue import adjusted, gate_names, load_scenario, names

    if sum((bool(options.names), options.all, options.gate)) != 1:
        raise UsageError(
            "name scenarios, or --all, or --gate (one of the three); `chaosbed list` shows the names"
        )
    gate = gate_names(ROOT)
    chosen = options.names or (
        gate if options.gate else [*gate, *(n for n in names(ROOT) if n not in gate)]
    )
    return [
        adjusted(load_scenario(ROOT, name), rate_rps=options.rate, seed=options.seed)
        for name in chosen
    ]


def _time_scale(options: argparse.Namespace) -> float:
    scale = float(options.time_scale)
    if not 1 <= scale <= MAX_TIME_SCALE:
        raise UsageError(
            f"--time-scale {scale:g}; expected 1 (real time) to {MAX_TIME_SCALE:g}, the default is 60"
        )
    return scale


def _interruptible(work: Coroutine[object, object, int]) -> int:
    """Run to the end; SIGINT, SIGTERM and SIGHUP cancel, and cancelling heals."""

    async def guarded() -> int:
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if task is not None:
                loop.add_signal_handler(number, task.cancel)
        return await work

    return asyncio.run(guarded())


def _up(options: argparse.Namespace, _given: list[str]) -> int:
    from chaos.engine.hand import bring_up

    return bring_up(ROOT, _time_scale(options), options.port_base)


def _down(_options: argparse.Namespace, _given: list[str]) -> int:
    from chaos.engine.hand import take_down

    return _interruptible(take_down(ROOT))


def _status(_options: argparse.Namespace, _given: list[str]) -> int:
    from chaos.engine.hand import show_status

    return _interruptible(show_status(ROOT))


def _inject(options: argparse.Namespace, _given: list[str]) -> int:
    from chaos.engine.hand import inject

    return _interruptible(inject(ROOT, " ".join(options.fault)))


def _heal(_options: argparse.Namespace, _given: list[str]) -> int:
    from chaos.engine.hand import heal

    return _interruptible(heal(ROOT))


def _loadtest(options: argparse.Namespace, _given: list[str]) -> int:
    from chaos.engine.hand import open_locust

    return open_locust(ROOT, _time_scale(options), options.port_base, options.web_port)


def _judge(options: argparse.Namespace, _given: list[str]) -> int:
    from chaos.engine.catalogue import load_scenario, load_system
    from chaos.engine.conclude import conclude, kept
    from chaos.model.evidence import load_evidence

    folder = options.folder.resolve()
    scenario = load_scenario(ROOT, load_evidence(folder).plan.scenario)
    timings, problem = kept(folder)
    result = conclude(folder, scenario, load_system(ROOT), timings=timings, problem=problem)
    Console().verdict(result, folder)
    return result.exit_code


def _report(options: argparse.Namespace, _given: list[str]) -> int:
    from chaos.engine.conclude import render

    folder = options.folder.resolve() if options.folder else None
    if folder is None:
        with contextlib.suppress(ValueError):
            folder = max(p.parent for p in RUNS.glob("*/run.json"))
    if folder is None or not (folder / "run.json").is_file():
        raise UsageError(
            f"{folder or RUNS} holds no run.json; run a scenario first, as `make chaos SCENARIO=redis-down`"
        )

    async def both() -> int:
        await render(ROOT, str(folder))
        await render(ROOT, "--index", str(RUNS))
        return 0

    code = asyncio.run(both())
    sys.stdout.write(f"{folder / 'report.html'}\n{RUNS / 'index.html'}\n")
    return code
