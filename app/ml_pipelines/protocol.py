"""The Open Inference Protocol, version 2, over REST: what a request must look like, and how an answer is written.

Pure: bytes and values in, values out. Whatever is wrong with a request is a `RequestError`, whose text says what was
expected and whose `reason` is of a closed set; nothing of the request is quoted but its lengths.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from app.ml_pipelines.artefact import NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.ml_pipelines.artefact import Model
    from app.ml_pipelines.predictor import Prediction

SERVER_NAME = "socialflow-inference"
SERVER_VERSION = "1.0.0"
EXTENSIONS = ("model_repository",)
PLATFORM = "numpy_ease"

MAX_BATCH = 32
MAX_HISTORY = 200
MAX_K = 50
MAX_ID = 128
# A full batch of full histories, with room for white space.
MAX_BODY_BYTES = 512 * 1024

HISTORY, WEIGHTS, K = "history", "weights", "k"
ITEMS, SCORES, KNOWN = "items", "scores", "known"
PADDING = ""

INPUTS = (
    {"name": HISTORY, "datatype": "BYTES", "shape": [-1, -1]},
    {"name": WEIGHTS, "datatype": "FP32", "shape": [-1, -1]},
    {"name": K, "datatype": "INT32", "shape": [1]},
)
OUTPUTS = (
    {"name": ITEMS, "datatype": "BYTES", "shape": [-1, -1]},
    {"name": SCORES, "datatype": "FP32", "shape": [-1, -1]},
    {"name": KNOWN, "datatype": "INT32", "shape": [-1]},
)
_OUTPUT_NAMES = tuple(str(output["name"]) for output in OUTPUTS)
_ITEM = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NUMBERS_OF_SHAPE = 2
_T = TypeVar("_T")


class Reason(StrEnum):
    """Why a request was not answered as asked, in the key `reason` beside the protocol's `error`."""

    BAD_JSON = "bad_json"
    BAD_REQUEST = "bad_request"
    BAD_TENSOR = "bad_tensor"
    TOO_LARGE = "too_large"
    UNKNOWN_ITEMS = "unknown_items"
    NOT_FOUND = "not_found"
    METHOD = "method_not_allowed"
    OVERLOADED = "overloaded"
    UNAVAILABLE = "model_unavailable"
    REFUSED = "artefact_refused"
    DEADLINE = "deadline"
    CLIENT_GONE = "client_gone"
    INTERNAL = "internal"


class RequestError(Exception):
    """A request that is answered by an error object."""

    def __init__(
        self, reason: Reason, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for predictions. `weights` are as long as their histories; `outputs` are names in the order asked."""

    id: str | None
    histories: tuple[tuple[str, ...], ...]
    weights: tuple[tuple[float, ...], ...] | None
    k: int
    outputs: tuple[str, ...]


def read_object(body: bytes, allowed: frozenset[str]) -> dict[str, Any]:
    """Return a body that is one JSON object with no other keys than these; an empty body is an empty object."""
    if not body.strip():
        return {}
    try:
        value = orjson.loads(body)
    except ValueError:
        raise RequestError(Reason.BAD_JSON, "the body is no JSON") from None
    return _object(value, "the body", allowed)


def read_infer(body: bytes) -> Asked:
    """Return what a body asks for. Raises RequestError."""
    content = read_object(body, frozenset({"id", "parameters", "inputs", "outputs"}))
    request_id = content.get("id")
    if request_id is not None and not (isinstance(request_id, str) and len(request_id) <= MAX_ID):
        raise RequestError(Reason.BAD_REQUEST, f"id must be a text of at most {MAX_ID} characters")
    no_parameters(content)
    inputs = _by_name(content.get("inputs"), "inputs", ("shape", "datatype", "data"))
    for name in (HISTORY, K):
        if name not in inputs:
            raise RequestError(Reason.BAD_TENSOR, f"input {name} is missing")
    if inputs.keys() - {HISTORY, WEIGHTS, K}:
        raise RequestError(Reason.BAD_TENSOR, f"inputs are {HISTORY}, {K} and {WEIGHTS} alone")
    rows, columns = _shape_of_history(inputs[HISTORY])
    items = _items(_tensor(inputs[HISTORY], "BYTES", [rows, columns]))
    weights = None
    if WEIGHTS in inputs:
        weights = _shares(_tensor(inputs[WEIGHTS], "FP32", [rows, columns]))
    return Asked(
        id=request_id,
        histories=_in_rows(items, rows, columns),
        weights=None if weights is None else _in_rows(weights, rows, columns),
        k=_k(_tensor(inputs[K], "INT32", [1])),
        outputs=_outputs(content),
    )


def infer_response(model: Model, asked: Asked, prediction: Prediction) -> dict[str, Any]:
    """Return the answer: what was predicted, by which version, and how old that is.

    A score that is no finite number becomes null, since JSON knows no other. Only a server that was told not to verify
    its model gives such an answer, or one with other shapes than [users, k].
    """
    rows, columns = prediction.scores.shape
    data: dict[str, tuple[str, list[int], list[Any]]] = {
        ITEMS: ("BYTES", [rows, columns], [item for row in prediction.items for item in row]),
        SCORES: ("FP32", [rows, columns], prediction.scores.ravel().tolist()),
        KNOWN: ("INT32", [rows], list(prediction.known)),
    }
    return {
        "model_name": NAME,
        "model_version": model.version,
        **({} if asked.id is None else {"id": asked.id}),
        "parameters": {"created_at": model.created_at.isoformat()},
        "outputs": [
            {"name": name, "datatype": data[name][0], "shape": data[name][1], "data": data[name][2]}
            for name in asked.outputs
        ],
    }


def _object(value: object, what: str, allowed: frozenset[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(Reason.BAD_REQUEST, f"{what} must be an object")
    if not value.keys() <= allowed:
        raise RequestError(
            Reason.BAD_REQUEST, f"{what} may have these keys alone: {', '.join(sorted(allowed))}"
        )
    return value


def no_parameters(content: dict[str, Any]) -> None:
    """Refuse parameters: none is known, and what is given should be heeded."""
    _object(content.get("parameters", {}), "parameters, of which there are none,", frozenset())


def _by_name(value: object, what: str, needed: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return a list of named objects by name."""
    if not isinstance(value, list) or not 0 < len(value) <= max(len(INPUTS), len(OUTPUTS)):
        raise RequestError(
            Reason.BAD_REQUEST, f"{what} must be a list of one to {len(INPUTS)} objects"
        )
    named: dict[str, dict[str, Any]] = {}
    for each in value:
        one = _object(each, f"each of {what}", frozenset({"name", "parameters", *needed}))
        no_parameters(one)
        name = one.get("name")
        if not isinstance(name, str) or name in named or not one.keys() >= set(needed):
            raise RequestError(
                Reason.BAD_REQUEST,
                f"each of {what} must have {', '.join(('name', *needed))}, and no two the same name",
            )
        named[name] = one
    return named


def _outputs(content: dict[str, Any]) -> tuple[str, ...]:
    if "outputs" not in content:
        return _OUTPUT_NAMES
    names = tuple(_by_name(content["outputs"], "outputs", ()))
    if not set(names) <= set(_OUTPUT_NAMES):
        raise RequestError(
            Reason.BAD_REQUEST, f"outputs are {', '.join(_OUTPUT_NAMES)}; ask for these"
        )
    return names


def _shape_of_history(tensor: dict[str, Any]) -> tuple[int, int]:
    shape = tensor["shape"]
    if (
        not isinstance(shape, list)
        or len(shape) != _NUMBERS_OF_SHAPE
        or not all(type(size) is int for size in shape)
        or not 1 <= shape[0] <= MAX_BATCH
        or not 0 <= shape[1] <= MAX_HISTORY
    ):
        raise RequestError(
            Reason.BAD_TENSOR,
            f"{HISTORY} must have the shape [1 to {MAX_BATCH}, 0 to {MAX_HISTORY}]",
        )
    return shape[0], shape[1]


def _tensor(tensor: dict[str, Any], datatype: str, shape: Sequence[int]) -> list[Any]:
    """Return the elements in row-major order; they may be given flat, or nested exactly as the shape says."""
    name = tensor["name"]
    if tensor["datatype"] != datatype:
        raise RequestError(Reason.BAD_TENSOR, f"{name} must be of datatype {datatype}")
    # True equals 1 and 1.0 equals 1, but neither is a size.
    if tensor["shape"] != list(shape) or not all(type(size) is int for size in tensor["shape"]):
        raise RequestError(Reason.BAD_TENSOR, f"{name} must have the shape {list(shape)}")
    data = tensor["data"]
    if isinstance(data, list) and data and all(isinstance(row, list) for row in data):
        if len(data) != shape[0] or any(len(row) != math.prod(shape[1:]) for row in data):
            raise RequestError(Reason.BAD_TENSOR, f"the data of {name} is not of its shape")
        data = [element for row in data for element in row]
    if not isinstance(data, list) or len(data) != math.prod(shape):
        raise RequestError(
            Reason.BAD_TENSOR, f"{name} must have {math.prod(shape)} elements, as its shape says"
        )
    return data


def _items(data: list[Any]) -> list[str]:
    if not all(
        isinstance(item, str) and (item == PADDING or _ITEM.fullmatch(item)) for item in data
    ):
        raise RequestError(
            Reason.BAD_TENSOR,
            f"{HISTORY} must hold ids of at most 64 letters, digits and dashes, or empty texts as padding",
        )
    return data


def _shares(data: list[Any]) -> list[float]:
    if not all(type(share) in {int, float} and 0.0 <= share <= 1.0 for share in data):
        raise RequestError(Reason.BAD_TENSOR, f"{WEIGHTS} must be numbers from 0 to 1")
    return [float(share) for share in data]


def _k(data: list[Any]) -> int:
    [k] = data
    if type(k) is not int or not 1 <= k <= MAX_K:
        raise RequestError(Reason.BAD_TENSOR, f"{K} must be a whole number from 1 to {MAX_K}")
    return k


def _in_rows(elements: list[_T], rows: int, columns: int) -> tuple[tuple[_T, ...], ...]:
    return tuple(tuple(elements[row * columns : (row + 1) * columns]) for row in range(rows))
