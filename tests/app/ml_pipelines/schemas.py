"""The answers of the Open Inference Protocol as JSON Schemas, written down from the protocol's own document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from app.ml_pipelines.protocol import Reason

if TYPE_CHECKING:
    from tests.app.ml_pipelines.process import Answer

TEXT = {"type": "string"}
TENSOR = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": TEXT,
        "datatype": {"enum": ["BYTES", "FP32", "INT32"]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}},
    },
}
# More keys are allowed only where the protocol lets a server add some.
SCHEMAS: dict[str, dict[str, Any]] = {
    "server_metadata": {
        "required": ["name", "version", "extensions"],
        "properties": {
            "name": TEXT,
            "version": TEXT,
            "extensions": {"type": "array", "items": TEXT},
        },
        "additionalProperties": False,
    },
    "live": {"required": ["live"], "properties": {"live": {"type": "boolean"}}},
    "model_metadata": {
        "required": ["name", "versions", "platform", "inputs", "outputs"],
        "properties": {
            "name": {"const": "recommendations"},
            "versions": {"type": "array", "items": TEXT, "minItems": 1},
            "platform": TEXT,
            "inputs": {"type": "array", "items": TENSOR},
            "outputs": {"type": "array", "items": TENSOR},
        },
    },
    "model_ready": {
        "required": ["name", "ready"],
        "properties": {"name": {"const": "recommendations"}, "ready": {"type": "boolean"}},
        "additionalProperties": False,
    },
    "infer": {
        "required": ["model_name", "outputs"],
        "properties": {
            "model_name": {"const": "recommendations"},
            "model_version": TEXT,
            "id": TEXT,
            "parameters": {"type": "object"},
            "outputs": {
                "type": "array",
                "items": {
                    **TENSOR,
                    "required": ["name", "datatype", "shape", "data"],
                    "properties": {**TENSOR["properties"], "data": {"type": "array"}},  # type: ignore[dict-item]
                    "additionalProperties": False,
                },
            },
        },
        "additionalProperties": False,
    },
    "error": {
        "required": ["error", "reason"],
        "properties": {"error": TEXT, "reason": {"enum": list(Reason)}},
        "additionalProperties": False,
    },
}


def conforms(answer: Answer, schema: str, status: int = 200) -> Any:
    """Return the content of an answer that is as the protocol says."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    Draft202012Validator({"type": "object", **SCHEMAS[schema]}).validate(answer.content)
    return answer.content
