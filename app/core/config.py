"""Settings from the environment, checked before anything starts."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

DEVELOPMENT_SECRET_KEY = "development-only-secret-key-of-32-bytes-or-more"  # noqa: S105 - refused in production
DEVELOPMENT_LIVE_KEY = "socialflow-development-live"
MIN_SECRET_BYTES = 32

Environment = Literal["development", "production"]
Port = Annotated[int, Field(ge=0, le=65535)]


class ConfigError(Exception):
    """The environment is wrong; one line per mistake."""


def _url_of(*schemes: str) -> AfterValidator:
    def check(url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"must start with {' or '.join(f'{s}://' for s in schemes)}")
        return url

    return AfterValidator(check)


def _host_and_port(endpoint: str) -> str:
    host, _, port = endpoint.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise ValueError("must be host:port, without a scheme")
    return endpoint


def _http_address(url: str) -> str:
    if not _ORIGIN.fullmatch(url):
        raise ValueError("must be http://host:port, without a path")
    return url


def _comma_separated(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    if "*" in origins and len(origins) > 1:
        raise ValueError("* allows every origin, so nothing can stand beside it")
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{origin!r} must be an origin as browsers send it: scheme://host or scheme://host:port, "
                "in lower case, without a path"
            )
    return origins


_ORIGIN = re.compile(
    r"https?://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::[0-9]{1,5})?"
)
RedisUrl = Annotated[SecretStr, _url_of("redis", "rediss")]


class Settings(BaseSettings):
    """Every knob of the backend, by the name of its environment variable in lower case."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", case_sensitive=False)

    environment: Environment = "development"
    host: str = "127.0.0.1"
    port: Port = 8000
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 9000
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"

    database_url: Annotated[SecretStr, _url_of("postgresql+asyncpg")] = SecretStr(
        "postgresql+asyncpg://socialflow:socialflow@127.0.0.1:5432/socialflow"
    )
    redis_url: RedisUrl = SecretStr("redis://127.0.0.1:6379/0")
    broker_url: RedisUrl = SecretStr("redis://127.0.0.1:6379/1")
    s3_endpoint: Annotated[str, AfterValidator(_host_and_port)] = "127.0.0.1:7070"
    s3_access_key: SecretStr = SecretStr("socialflow")
    s3_secret_key: SecretStr = SecretStr("socialflow-development")
    s3_bucket: Annotated[str, Field(min_length=3, max_length=63)] = "media"
    s3_secure: bool = False
    live_origin_url: Annotated[str, AfterValidator(_http_address)] = "http://127.0.0.1:8900"
    live_key: SecretStr = SecretStr(DEVELOPMENT_LIVE_KEY)
    """What the live origin asks of those who start and stop channels."""
    local_store_dir: Path = Path("media")
    local_store_max_bytes: Annotated[int, Field(ge=1)] = 512 * 1024 * 1024
    """For what waits to be copied to the store and for copies together; the copies make room."""
    secret_key: SecretStr = SecretStr(DEVELOPMENT_SECRET_KEY)
    previous_secret_keys: SecretStr = SecretStr("")
    """Keys of before a rotation, comma separated: they still open what they closed, and close nothing new."""

    health_check_interval_s: Annotated[float, Field(gt=0)] = 1.0
    processing_lease_s: Annotated[float, Field(ge=0.5)] = 15.0
    """For how long nobody takes a video from a worker that has gone silent; all is to be settled within 30 s."""
    reconcile_after_s: Annotated[float, Field(gt=0)] = 5.0
    """For how long a task that was given to the queue, and that nobody does, is not asked for again."""
    request_deadline_s: Annotated[float, Field(gt=0)] = 1.5
    """Below the time that clients wait (2 s), so that they get an answer that says why."""

    max_body_bytes: Annotated[int, Field(ge=1024)] = 64 * 1024
    """For bodies that are held in memory."""
    max_upload_bytes: Annotated[int, Field(ge=1024)] = 256 * 1024 * 1024
    """For videos, which are streamed to the disk."""
    max_in_flight: Annotated[int, Field(ge=1)] = 512
    """Requests beyond this many are shed, whatever the measured wait."""
    shed_wait_s: Annotated[float, Field(gt=0)] = 0.1
    """Requests are shed while even the shortest wait for the event loop has been longer than this."""
    cors_allow_origins: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_comma_separated), AfterValidator(_origins)
    ] = ()
    """Origins whose pages may call the API, comma separated, or * alone for all; none by default."""
    forwarded_allow_ips: str = ""
    """Addresses of proxies whose X-Forwarded-For is believed, comma separated, or *; none by default."""

    feature_redis_enabled: bool = True
    feature_s3_enabled: bool = True
    feature_ml_enabled: bool = True
    feature_celery_enabled: bool = True
    feature_2fa_enabled: bool = True
    feature_live_enabled: bool = True

    @property
    def features(self) -> dict[str, bool]:
        """Return the switches by the feature's name."""
        return {
            name.removeprefix("feature_").removesuffix("_enabled"): getattr(self, name)
            for name in type(self).model_fields
            if name.startswith("feature_")
        }

    @model_validator(mode="after")
    def _refuse_weak_secrets(self) -> Settings:
        """Outside development a default or a short key would sign everybody's tokens, or open the live origin."""
        if self.environment == "development":
            return self
        previous = self.previous_secret_keys.get_secret_value()
        for name, key in (
            ("SECRET_KEY", self.secret_key.get_secret_value()),
            ("LIVE_KEY", self.live_key.get_secret_value() if self.feature_live_enabled else None),
            *(("PREVIOUS_SECRET_KEYS", key.strip()) for key in previous.split(",") if key.strip()),
        ):
            if key is not None:
                _refuse_weak(name, key)
        return self


def _refuse_weak(name: str, key: str) -> None:
    if key == DEVELOPMENT_SECRET_KEY or len(key.encode()) < MIN_SECRET_BYTES:
        raise ValueError(
            f"{name} is the development default or shorter than {MIN_SECRET_BYTES} bytes; "
            'set it to the output of: python -c "import secrets; print(secrets.token_hex(32))"'
        )


def load_settings() -> Settings:
    """Read the environment; raise `ConfigError` with one line per mistake."""
    unknown = [_unknown_flag(name) for name in sorted(os.environ) if _is_unknown_flag(name)]
    try:
        settings = Settings()
    except ValidationError as error:
        lines = [_mistake(dict(problem)) for problem in error.errors()]
        raise ConfigError("\n".join([*lines, *unknown])) from None
    if unknown:
        raise ConfigError("\n".join(unknown))
    return settings


def _is_unknown_flag(name: str) -> bool:
    """Tell whether it would be read by nobody: a switch with a typo in its name would silently not switch."""
    return name.upper().startswith("FEATURE_") and name.lower() not in Settings.model_fields


def _unknown_flag(name: str) -> str:
    flags = [field.upper() for field in Settings.model_fields if field.startswith("feature_")]
    [nearest] = get_close_matches(name.upper(), flags, n=1, cutoff=0.0)
    return f"{name}: there is no such feature flag; did you mean {nearest}?"


def _mistake(problem: dict[str, Any]) -> str:
    """Name the variable, its value unless it is secret, and what was expected."""
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    field = str(problem["loc"][0])
    known = Settings.model_fields.get(field)
    secret = known is None or known.annotation is SecretStr
    shown = "" if secret else f"={problem['input']!r}"
    return (
        f"{field.upper()}{shown}: {message[:1].lower()}{message[1:]}; correct it in the environment"
    )
