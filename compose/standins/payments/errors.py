"""What the provider refuses, in Stripe's shape."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """A refusal; `keep` says that what was done before it stands (a declined charge is a fact)."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        keep: bool = False,
        **more: object,
    ) -> None:
        """Refuse with this HTTP status; `more` are further fields of the error."""
        super().__init__(message)
        self.status = status
        self.keep = keep
        fields = {"code": code, "message": message, "param": param, "type": kind, **more}
        self.error = {name: value for name, value in fields.items() if value is not None}

    @property
    def body(self) -> dict[str, Any]:
        """The answer's body."""
        return {"error": self.error}


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """Return the refusal of a request that can not be right."""
    return ApiError(400, message, param=param, code=code)


def missing(kind: str, given: str, *, param: str = "id", status: int = 400) -> ApiError:
    """Return the refusal of an id that names nothing: 404 for what the address names, else 400."""
    noun = kind.replace("_", " ") if kind != "payment_method" else "PaymentMethod"
    noun = "payment_intent" if kind == "payment_intent" else noun
    return ApiError(status, f"No such {noun}: '{given}'", param=param, code="resource_missing")
