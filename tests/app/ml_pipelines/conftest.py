"""The model of the seeded world, trained once, and servers on it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from app.ml_pipelines.artefact import deploy, write
from app.ml_pipelines.training import train_seeded
from tests.app.ml_pipelines.process import Inference, inference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from app.ml_pipelines.artefact import Model


@pytest.fixture(scope="session")
def model() -> Model:
    """The model that set-up trains, of this moment."""
    return train_seeded(datetime.now(UTC))


@pytest.fixture
def artefacts(model: Model, tmp_path: Path) -> Path:
    """A folder in which it is deployed."""
    return deployed_in(tmp_path / "models", model)


@pytest.fixture(scope="module")
def served(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    """A server on it that a module's tests share; they change nothing in it."""
    with inference(deployed_in(tmp_path_factory.mktemp("models"), model)) as server:
        yield server


def deployed_in(folder: Path, model: Model) -> Path:
    """Write and deploy a model; return the folder."""
    write(folder, model)
    deploy(folder, model.version, good=True)
    return folder
