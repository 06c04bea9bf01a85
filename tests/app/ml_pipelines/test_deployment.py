"""Models come and go while the server answers: loaded, refused, exchanged, restored, and there again after a kill."""

from __future__ import annotations

import http.client
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from app.ml_pipelines.artefact import deploy, write
from app.ml_pipelines.bad import Bad, deploy_bad, restore
from app.ml_pipelines.bad import main as bad_main
from app.ml_pipelines.protocol import Reason
from app.ml_pipelines.training import train_seeded
from tests.app.ml_pipelines.process import (
    MODEL,
    REPOSITORY,
    Answer,
    Inference,
    ask_on,
    inference,
    question,
    tensor,
)
from tests.app.ml_pipelines.schemas import conforms

if TYPE_CHECKING:
    from pathlib import Path

    from app.ml_pipelines.artefact import Model

WITHIN_S = 15.0


def test_repository_says_what_is_loaded(artefacts: Path, model: Model) -> None:
    """Index, unload and load: what is unloaded is not ready and says so, and comes back."""
    with inference(artefacts) as server:
        [entry] = server.ask("POST", "/v2/repository/index").content
        assert entry == {
            "name": "recommendations",
            "version": model.version,
            "state": "READY",
            "reason": "",
        }
        assert server.ask("POST", f"{REPOSITORY}/unload", {}).status == 200
        [entry] = server.ask("POST", "/v2/repository/index", {"ready": False}).content
        assert (entry["state"], entry["reason"]) == ("UNAVAILABLE", "unloaded")
        assert server.ask("POST", "/v2/repository/index", {"ready": True}).content == []
        assert not conforms(server.ask("GET", "/v2/health/ready"), "live", 503)["ready"]
        assert conforms(server.ask("GET", "/v2/health/live"), "live")["live"]
        gone = server.infer(question(model.items[:1]))
        assert conforms(gone, "error", 503)["reason"] == Reason.UNAVAILABLE
        assert gone.headers["retry-after"] == "1"
        bad = server.ask("POST", f"{REPOSITORY}/load", {"parameters": {"config": "{}"}})
        assert conforms(bad, "error", 400)
        assert server.load().status == 200
        assert server.ask("GET", f"{MODEL}/ready").status == 200


def test_starts_without_a_model_and_takes_one_later(tmp_path: Path, model: Model) -> None:
    """Set-up may come after the server: it lives, is not ready, and serves after a load."""
    folder = tmp_path / "models"
    with inference(folder) as server:
        assert server.ask("GET", "/v2/health/live").status == 200
        assert server.ask("GET", "/v2/health/ready").status == 503
        assert conforms(server.load(), "error", 400)["reason"] == Reason.REFUSED
        write(folder, model)
        deploy(folder, model.version, good=True)
        assert server.load().status == 200
        assert server.infer(question(model.items[:1])).status == 200


@pytest.mark.parametrize("kind", list(Bad))
def test_bad_models_are_refused_and_the_good_one_goes_on(
    artefacts: Path, model: Model, kind: Bad
) -> None:
    """A bad deployment is refused with its reason; the version before answers on, and a restored one loads."""
    with inference(artefacts) as server:
        deploy_bad(artefacts, kind)
        answer = server.load()
        [entry] = server.ask("POST", "/v2/repository/index").content

        assert conforms(answer, "error", 400)["reason"] == Reason.REFUSED
        assert answer.content["error"].startswith(f"{entry['reason']}: ")
        assert (entry["version"], entry["state"]) == (model.version, "READY")
        assert server.metric(f'ml_model_loads_total{{result="{entry["reason"]}"}}') == 1
        assert conforms(server.infer(question(model.items[:1])), "infer")
        restore(artefacts)
        assert server.load().content["version"] == model.version


def test_a_careless_server_gives_garbage_that_clients_can_tell(
    artefacts: Path, model: Model
) -> None:
    """With --no-verify each bad model goes through, and each answer shows it: null, shape, age, 503, nothing."""
    ask = question(model.items[:3], k=10)
    with inference(artefacts, "--no-verify") as server:
        address = f"http://{server.server.address}"

        def after(kind: str) -> Answer:
            assert bad_main([kind, "--dir", str(artefacts), "--server", address]) == 0
            return server.infer(ask)

        nan = after("nan")
        assert nan.output("scores") == tensor("scores", "FP32", [1, 10], [None] * 10)
        assert after("shape").output("items")["shape"] == [1, 3]
        created_at = datetime.fromisoformat(after("stale").content["parameters"]["created_at"])
        assert datetime.now(UTC) - created_at > timedelta(days=399)
        empty = after("empty")
        assert (empty.output("items")["shape"], empty.output("items")["data"]) == ([1, 0], [])
        assert after("truncated").status == 503
        assert conforms(after("restore"), "infer")["model_version"] == model.version


def test_reload_under_requests_loses_none(artefacts: Path, model: Model) -> None:
    """While two versions are exchanged over and over, every request is answered, whole, by one of them."""
    other = train_seeded(datetime.now(UTC), 5)
    write(artefacts, other)
    over = threading.Event()

    def keep_asking(server: Inference) -> list[Answer]:
        answers: list[Answer] = []
        connection = http.client.HTTPConnection("127.0.0.1", server.server.port, timeout=WITHIN_S)
        while not over.is_set() or not answers:
            answers.append(ask_on(connection, "POST", f"{MODEL}/infer", question(model.items[:5])))
        connection.close()
        return answers

    with inference(artefacts) as server, ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(keep_asking, server) for _ in range(3)]
        try:
            for n in range(30):
                deploy(artefacts, (other, model)[n % 2].version, good=True)
                assert server.load().status == 200
        finally:
            over.set()
        answers = [answer for each in asking for answer in each.result(WITHIN_S)]

    assert {answer.status for answer in answers} == {200}
    expected = {each.version: None for each in (model, other)}
    assert {answer.content["model_version"] for answer in answers} == set(expected)
    by_version = {
        (answer.content["model_version"], tuple(answer.output("items")["data"]))
        for answer in answers
    }
    assert len(by_version) == 2  # each version always says the same


def test_kill_and_restart_keep_the_version(artefacts: Path, model: Model) -> None:
    """SIGKILL loses nothing: the server that starts again serves the same version with the same answer."""
    with inference(artefacts) as server:
        before = server.infer(question(model.items[:5]))
        server.server.kill()
        server.server.start()

        assert server.infer(question(model.items[:5])).content == before.content
