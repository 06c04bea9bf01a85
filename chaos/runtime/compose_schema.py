"""The shape of a Compose file as far as it is read here; unknown keys are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from chaos.errors import UsageError, unknown

Port = Annotated[int, Field(ge=1, le=65535)]
ReadyKind = Literal["tcp", "http", "redis", "postgres", "exit"]
Model = TypeVar("Model", bound="Strict")
READY_KINDS: tuple[ReadyKind, ...] = get_args(ReadyKind)


class Strict(BaseModel):
    """A mapping that people write: frozen, and a key that is not listed is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)


class ReadyBlock(Strict):
    """`ready:` of an `x-local` block: exactly one kind, with the container port that it asks."""

    tcp: Port | None = None
    http: Port | None = None
    redis: Port | None = None
    postgres: Port | None = None
    exit: Literal[0] | None = None
    path: str = Field("/", pattern="^/")
    within_s: float = Field(0.0, ge=0.0, le=600.0)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        return {"exit": 0} if value == "exit" else value

    @model_validator(mode="after")
    def _exactly_one_kind(self) -> Self:
        kinds = [kind for kind in READY_KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            msg = f"{len(kinds)} kinds given; expected exactly one of {', '.join(READY_KINDS)}"
            raise ValueError(msg)
        if self.path != "/" and self.http is None:
            msg = f"path {self.path!r} without http; write 'http: PORT' or leave the path out"
            raise ValueError(msg)
        return self

    @property
    def kind(self) -> ReadyKind:
        """The one kind that was given."""
        return next(kind for kind in READY_KINDS if getattr(self, kind) is not None)


class LocalBlock(Strict):
    """`x-local:` of a service: how it runs without Docker.

    `prepare` commands run before the first start, on fresh data, and again after a wipe. `environment` is
    what differs from the service's own; `scaled` names variables in seconds that shrink with the time scale.
    """

    command: tuple[str, ...] = Field(min_length=1)
    ready: ReadyBlock
    prepare: tuple[Annotated[tuple[str, ...], Field(min_length=1)], ...] = ()
    environment: dict[str, str] = {}
    scaled: dict[str, Annotated[float, Field(ge=0.0)]] = {}
    unprivileged: bool = False


class DependsOn(Strict):
    """One entry of a long-form `depends_on`."""

    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]
    required: bool = True
    restart: bool = False


class ServiceBlock(Strict):
    """One service. Keys typed `Any` concern Compose alone and are only known by name here."""

    local: LocalBlock | None = Field(None, alias="x-local")
    image: str = ""
    environment: dict[str, str] = {}
    depends_on: dict[str, DependsOn] = {}
    ports: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    build: Any = None
    command: Any = None
    entrypoint: Any = None
    healthcheck: Any = None
    restart: Any = None
    init: Any = None
    user: Any = None
    working_dir: Any = None
    networks: Any = None
    profiles: Any = None
    labels: Any = None
    logging: Any = None
    deploy: Any = None
    tmpfs: Any = None
    shm_size: Any = None
    read_only: Any = None
    cap_drop: Any = None
    security_opt: Any = None
    extra_hosts: Any = None
    pull_policy: Any = None
    stop_grace_period: Any = None

    @field_validator("environment", mode="before")
    @classmethod
    def _environment(cls, value: object) -> object:
        if isinstance(value, list):
            pairs = [str(item).partition("=") for item in value]
            return {key: text if equals else None for key, equals, text in pairs}
        if isinstance(value, dict):
            # YAML reads an unquoted number as one; Compose hands it on as text.
            plain = (int, float)
            return {
                key: str(item) if isinstance(item, plain) and not isinstance(item, bool) else item
                for key, item in value.items()
            }
        return value

    @field_validator("depends_on", mode="before")
    @classmethod
    def _depends_on(cls, value: object) -> object:
        if isinstance(value, list):
            return {name: {"condition": "service_started"} for name in value}
        return value

    @field_validator("ports", "expose", mode="before")
    @classmethod
    def _texts(cls, value: object) -> object:
        if isinstance(value, list):
            return tuple(str(item) if isinstance(item, int) else item for item in value)
        return value


class ComposeFile(Strict):
    """The whole file without its top-level `x-…` extensions."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    services: dict[str, ServiceBlock] = Field(min_length=1)
    volumes: dict[str, Any] = {}
    networks: Any = None
    configs: Any = None
    secrets: Any = None


class Route(Strict):
    """One proxy of a Toxiproxy route file."""

    name: str
    listen: str
    upstream: str
    enabled: bool


def read_as(model: type[Model], value: object, *, where: str) -> Model:
    """Validate `value`; the first thing wrong becomes a one-line `UsageError` that begins with `where`."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        # A misspelt key is also a missing one; the misspelling says more.
        found = error.errors(include_url=False)
        first = min(found, key=lambda one: one["type"] != "extra_forbidden")
        *parents, last = (where, *first["loc"]) if where else first["loc"]
        place = ".".join(str(part) for part in (*parents, last))
        if first["type"] == "extra_forbidden":
            inside = ".".join(str(part) for part in parents) or "the file"
            known = _keys_at(model, first["loc"][:-1])
            raise unknown("key", str(last), known, where=f" in {inside}") from None
        given = "" if isinstance(first["input"], dict) else f"{first['input']!r}: "
        what = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        raise UsageError(f"{place}: {given}{_expected(first['type'], what)}") from None


def _expected(kind: str, what: str) -> str:
    return what if kind in {"value_error", "missing"} else f"expected {what}"


def _keys_at(model: type[Strict], path: tuple[int | str, ...]) -> list[str]:
    """Return the keys that may stand at `path` below `model`."""
    for step in path:
        field = {info.alias or name: info for name, info in model.model_fields.items()}.get(
            str(step)
        )
        if field is None:  # the key of a mapping or the index of a list: its values are meant
            continue
        inner = [field.annotation, *get_args(field.annotation)]
        model = next(kind for kind in inner if isinstance(kind, type) and issubclass(kind, Strict))
    return [info.alias or name for name, info in model.model_fields.items()]
