"""What a request must look like, and what a model says: pure, without a server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.ml_pipelines.predictor import GaveUpError, predict, work
from app.ml_pipelines.protocol import (
    MAX_BATCH,
    MAX_HISTORY,
    MAX_K,
    Reason,
    RequestError,
    infer_response,
    read_infer,
)
from tests.app.ml_pipelines.process import question, tensor

if TYPE_CHECKING:
    from app.ml_pipelines.artefact import Model

IDS = ["a", "b"]


def inputs(*tensors: dict[str, object], **more: object) -> dict[str, object]:
    """Return a request with these inputs."""
    return {"inputs": list(tensors), **more}


def history(shape: object = (1, 2), data: object = tuple(IDS), kind: str = "BYTES") -> Any:
    """Return a history."""
    return tensor("history", kind, shape, data)


def k(value: object = 5, shape: object = (1,), kind: str = "INT32") -> Any:
    """Return the number of items that is asked for."""
    return tensor("k", kind, shape, [value])


def weights(data: object, kind: str = "FP32") -> Any:
    """Return the shares that were watched."""
    return tensor("weights", kind, [1, 2], data)


HOSTILE: dict[str, tuple[object, Reason]] = {
    "nothing": (b"", Reason.BAD_REQUEST),
    "no JSON": (b"{", Reason.BAD_JSON),
    "no UTF-8": (b'{"id": "\xff"}', Reason.BAD_JSON),
    "deep": (b"[" * 100_000, Reason.BAD_JSON),
    "deep data": (
        b'{"inputs": [{"name": "k", "shape": [1], "datatype": "INT32", "data": '
        + b"[" * 500
        + b"]" * 500
        + b"}]}",
        Reason.BAD_TENSOR,
    ),
    "NaN": (
        json.dumps(inputs(history(), k(), weights([float("nan"), 1.0]))).encode(),
        Reason.BAD_JSON,
    ),
    "Infinity": (
        json.dumps(inputs(history(), k(), weights([float("inf"), 1.0]))).encode(),
        Reason.BAD_JSON,
    ),
    "a number beyond all": (
        json.dumps(inputs(history(), k(), weights([7, 1.0]))).replace("7", "1e999").encode(),
        Reason.BAD_JSON,
    ),
    "a list": ([], Reason.BAD_REQUEST),
    "no inputs": ({}, Reason.BAD_REQUEST),
    "empty inputs": (inputs(), Reason.BAD_REQUEST),
    "many inputs": (inputs(*[history()] * 9), Reason.BAD_REQUEST),
    "inputs of text": ({"inputs": ["history", "k"]}, Reason.BAD_REQUEST),
    "twice the same": (inputs(history(), history(), k()), Reason.BAD_REQUEST),
    "unknown key": (inputs(history(), k(), colour="red"), Reason.BAD_REQUEST),
    "parameters": (inputs(history(), k(), parameters={"timeout": 1}), Reason.BAD_REQUEST),
    "parameters of an input": (
        inputs({**history(), "parameters": {"binary_data_size": 9}}, k()),
        Reason.BAD_REQUEST,
    ),
    "long id": (inputs(history(), k(), id="x" * 129), Reason.BAD_REQUEST),
    "id of a number": (inputs(history(), k(), id=7), Reason.BAD_REQUEST),
    "unknown output": (inputs(history(), k(), outputs=[{"name": "soul"}]), Reason.BAD_REQUEST),
    "no k": (inputs(history()), Reason.BAD_TENSOR),
    "no history": (inputs(k()), Reason.BAD_TENSOR),
    "unknown input": (inputs(history(), k(), tensor("x", "FP32", [1], [1])), Reason.BAD_TENSOR),
    "too few": (inputs(history([1, 3]), k()), Reason.BAD_TENSOR),
    "too many": (inputs(history([1, 1]), k()), Reason.BAD_TENSOR),
    "one dimension": (inputs(history([2]), k()), Reason.BAD_TENSOR),
    "three dimensions": (inputs(history([1, 1, 2]), k()), Reason.BAD_TENSOR),
    "no users": (inputs(history([0, 0], []), k()), Reason.BAD_TENSOR),
    "negative": (inputs(history([-1, -2]), k()), Reason.BAD_TENSOR),
    "huge": (inputs(history([2**40, 2**40], []), k()), Reason.BAD_TENSOR),
    "beyond 64 bits": (
        json.dumps(inputs(history([10**23, 1], []), k())).encode(),
        Reason.BAD_TENSOR,
    ),
    "batch": (
        inputs(history([MAX_BATCH + 1, 1], ["a"] * (MAX_BATCH + 1)), k()),
        Reason.BAD_TENSOR,
    ),
    "long history": (
        inputs(history([1, MAX_HISTORY + 1], ["a"] * (MAX_HISTORY + 1)), k()),
        Reason.BAD_TENSOR,
    ),
    "shape of text": (inputs(history("1,2"), k()), Reason.BAD_TENSOR),
    "shape of floats": (inputs(history([1.0, 2.0]), k()), Reason.BAD_TENSOR),
    "shape of truths": (inputs(history([True, 2]), k()), Reason.BAD_TENSOR),
    "other datatype": (inputs(history(kind="FP32", data=[1, 2]), k()), Reason.BAD_TENSOR),
    "numbers for ids": (inputs(history(data=[1, 2]), k()), Reason.BAD_TENSOR),
    "null for ids": (inputs(history(data=[None, None]), k()), Reason.BAD_TENSOR),
    "long ids": (inputs(history(data=["a" * 65, "b"]), k()), Reason.BAD_TENSOR),
    "ids with line breaks": (inputs(history(data=["a\n", "b"]), k()), Reason.BAD_TENSOR),
    "data of text": (inputs(history(data="ab"), k()), Reason.BAD_TENSOR),
    "ragged": (inputs(history([2, 2], [["a", "b"], ["a"]]), k()), Reason.BAD_TENSOR),
    "nested too deep": (inputs(history(data=[[["a", "b"]]]), k()), Reason.BAD_TENSOR),
    "half nested": (inputs(history(data=[["a"], "b"]), k()), Reason.BAD_TENSOR),
    "k of zero": (inputs(history(), k(0)), Reason.BAD_TENSOR),
    "k too large": (inputs(history(), k(MAX_K + 1)), Reason.BAD_TENSOR),
    "k of text": (inputs(history(), k("5")), Reason.BAD_TENSOR),
    "k of a float": (inputs(history(), k(5.0)), Reason.BAD_TENSOR),
    "k of truth": (inputs(history(), k(value=True)), Reason.BAD_TENSOR),
    "k of shape true": (inputs(history(), k(shape=[True])), Reason.BAD_TENSOR),
    "k as FP32": (inputs(history(), k(kind="FP32")), Reason.BAD_TENSOR),
    "negative weights": (inputs(history(), k(), weights([-0.1, 1])), Reason.BAD_TENSOR),
    "large weights": (inputs(history(), k(), weights([1.1, 1])), Reason.BAD_TENSOR),
    "null weights": (inputs(history(), k(), weights([None, 1])), Reason.BAD_TENSOR),
    "true weights": (inputs(history(), k(), weights([True, 1])), Reason.BAD_TENSOR),
    "weights as FP64": (inputs(history(), k(), weights([1, 1], "FP64")), Reason.BAD_TENSOR),
    "few weights": (inputs(history(), k(), weights([1])), Reason.BAD_TENSOR),
}


def as_body(content: object) -> bytes:
    """Return the bytes of a body."""
    return content if isinstance(content, bytes) else json.dumps(content).encode()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_requests_are_refused(name: str) -> None:
    """Wrong in shape, size, type or value: each is refused with a closed reason and one line without the content."""
    content, reason = HOSTILE[name]
    with pytest.raises(RequestError) as caught:
        read_infer(as_body(content))

    assert caught.value.reason is reason
    assert caught.value.status == 400
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 200


@given(
    body=st.binary(max_size=200)
    | st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["inputs", "name", "shape", "data", "datatype", "id"]), inner
            )
        ),
        max_leaves=15,
    )
)
@settings(max_examples=300, deadline=None)
def test_whatever_comes_is_a_request_error(body: object) -> None:
    """No body at all makes the reader fail in another way than it should."""
    with pytest.raises(RequestError):
        read_infer(as_body(body))


def test_flat_and_nested_data_are_the_same() -> None:
    """The protocol allows both forms of a tensor's data."""
    flat = inputs(history([2, 2], ["a", "b", "c", ""]), k())
    nested = inputs(history([2, 2], [["a", "b"], ["c", ""]]), k())

    assert read_infer(as_body(flat)) == read_infer(as_body(nested))


def ask(model: Model, *histories: tuple[str, ...], wanted: int = 10, **more: object) -> Any:
    """Return the prediction."""
    return predict(model, read_infer(as_body(question(*histories, k=wanted, **more))))


def test_predictions_are_new_finite_and_sorted(model: Model) -> None:
    """Each user of a batch gets as many items as asked for: known, all different, unseen, best first."""
    histories = (model.items[:5], model.items[50:51], model.items[7:30])
    prediction = ask(model, *histories)

    assert prediction.known == (5, 1, 23)
    assert prediction.scores.shape == (3, 10)
    assert np.isfinite(prediction.scores).all()
    for own, items, scores in zip(histories, prediction.items, prediction.scores, strict=True):
        assert len(set(items)) == 10
        assert set(items) <= set(model.items) - set(own)
        assert (np.diff(scores) <= 0).all()


def test_a_batch_answers_as_one_by_one(model: Model) -> None:
    """Who else is in the batch changes nobody's answer."""
    histories = [model.items[n : n + 4] for n in range(0, 40, 5)]
    together = ask(model, *histories)

    for n, own in enumerate(histories):
        alone = ask(model, own)
        assert alone.items[0] == together.items[n]
        assert np.allclose(alone.scores[0], together.scores[n], atol=1e-6)


def test_without_a_past_it_is_what_most_watch(model: Model) -> None:
    """An empty history is answered with the most watched items, and said to be not personal."""
    prediction = ask(model, ())
    best = [model.items[n] for n in np.argsort(-model.popularity, kind="stable")[:10]]

    assert list(prediction.items[0]) == best
    assert prediction.known == (0,)


def test_unknown_items_are_left_out_beside_known_ones(model: Model) -> None:
    """A new upload in a history does not spoil it; a history of unknown ones alone is refused as such."""
    mixed = ask(model, ("new-upload", *model.items[:3]))

    assert mixed.known == (3,)
    assert mixed.items == ask(model, model.items[:3]).items
    with pytest.raises(RequestError) as caught:
        ask(model, model.items[:2], ("new-upload",))
    assert caught.value.reason is Reason.UNKNOWN_ITEMS


def test_who_has_seen_nearly_all_still_gets_enough(model: Model) -> None:
    """The unseen ones come first; the rest is what they have seen."""
    prediction = ask(model, model.items[:115])

    assert set(prediction.items[0][:5]) == set(model.items[115:])
    assert len(set(prediction.items[0])) == 10


def test_what_was_watched_longer_counts_more(model: Model) -> None:
    """Weights scale what a history says; those of nothing are no history."""
    one, other = model.items[0], model.items[60]

    def weighed(first: float, second: float) -> Any:
        body = inputs(history(data=[one, other]), k(10), weights([first, second]))
        return predict(model, read_infer(as_body(body)))

    assert weighed(1, 0).scores[0][0] == ask(model, (one,)).scores[0][0]
    assert weighed(1, 0).known == (1,)
    assert weighed(0, 0).known == (0,)
    assert weighed(1, 1).items == ask(model, (one, other)).items


def test_answers_carry_what_a_client_must_check(model: Model) -> None:
    """Version, time of training, shapes and the caller's id are in the answer; outputs as asked, in that order."""
    body = question(model.items[:3], k=4, id="42", outputs=[{"name": "scores"}, {"name": "items"}])
    asked = read_infer(as_body(body))
    answer = infer_response(model, asked, predict(model, asked))

    assert (answer["id"], answer["model_version"]) == ("42", model.version)
    assert answer["parameters"] == {"created_at": model.created_at.isoformat()}
    assert [output["name"] for output in answer["outputs"]] == ["scores", "items"]
    assert all(output["shape"] == [1, 4] for output in answer["outputs"])


def test_work_is_done_unit_by_unit_and_given_up() -> None:
    """Extra work looks at the clock before each unit, and stops when the time is over."""
    looks: list[bool] = []

    def over() -> bool:
        looks.append(True)
        return len(looks) > 5

    work(5, over)
    assert len(looks) == 5
    with pytest.raises(GaveUpError):
        work(5, over)
    assert len(looks) == 6
