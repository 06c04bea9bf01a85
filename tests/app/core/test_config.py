"""Settings: what may stand in the environment, and what is said when it may not."""

from __future__ import annotations

import pytest

from app.core.config import ConfigError, load_settings


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of this machine takes part."""
    for name in ("SECRET_KEY", "ENVIRONMENT", "PORT", "DATABASE_URL", "REDIS_URL", "S3_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def test_every_setting_has_a_default_for_development() -> None:
    """With an empty environment the backend starts on loopback with all features on."""
    settings = load_settings()

    assert settings.environment == "development"
    assert (settings.host, settings.port, settings.metrics_port) == ("127.0.0.1", 8000, 9000)
    flags = [name for name in type(settings).model_fields if name.startswith("feature_")]
    assert len(flags) == 6
    assert all(getattr(settings, name) for name in flags)


def test_variables_are_read_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers, switches and choices are converted."""
    monkeypatch.setenv("HEALTH_CHECK_INTERVAL_S", "0.2")
    monkeypatch.setenv("FEATURE_REDIS_ENABLED", "false")
    monkeypatch.setenv("LOG_FORMAT", "console")

    settings = load_settings()
    assert settings.health_check_interval_s == 0.2
    assert settings.feature_redis_enabled is False
    assert settings.log_format == "console"


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("PORT", "many", "PORT='many': input should be a valid integer"),
        ("PORT", "70000", "PORT='70000': input should be less than or equal to 65535"),
        ("HEALTH_CHECK_INTERVAL_S", "0", "HEALTH_CHECK_INTERVAL_S='0': input should be greater"),
        ("ENVIRONMENT", "prod", "ENVIRONMENT='prod': input should be 'development' or"),
        ("S3_ENDPOINT", "http://s3:7070", "S3_ENDPOINT='http://s3:7070': must be host:port"),
        ("DATABASE_URL", "mysql://u:p@h/d", "DATABASE_URL: must start with postgresql+asyncpg://"),
        ("REDIS_URL", "http://h", "REDIS_URL: must start with redis:// or rediss://"),
    ],
)
def test_a_mistake_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str
) -> None:
    """It names the variable, its value unless that is secret, and what was expected."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as wrong:
        load_settings()

    message = str(wrong.value)
    assert message.startswith(line)
    assert "\n" not in message
    assert "correct it in the environment" in message


def test_all_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two mistakes, two lines: nobody should have to start twice to learn of both."""
    monkeypatch.setenv("PORT", "many")
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    with pytest.raises(ConfigError) as wrong:
        load_settings()

    assert [line.split("=")[0] for line in str(wrong.value).splitlines()] == ["PORT", "LOG_LEVEL"]


@pytest.mark.parametrize(
    "key", [None, "", "short", "development-only-secret-key-of-32-bytes-or-more"]
)
def test_production_refuses_a_weak_secret_key(
    monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    """The default, no key and a short key are refused, without showing it, and the line says how to make one."""
    monkeypatch.setenv("ENVIRONMENT", "production")
    if key is not None:
        monkeypatch.setenv("SECRET_KEY", key)
    with pytest.raises(ConfigError, match=r"SECRET_KEY is .*secrets\.token_hex") as wrong:
        load_settings()

    assert "\n" not in str(wrong.value)
    assert not key or f"'{key}'" not in str(wrong.value)


def test_production_accepts_a_strong_secret_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of 32 random bytes are enough."""
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("SECRET_KEY", "9f" * 32)
    monkeypatch.setenv("LIVE_KEY", "7e" * 32)

    assert load_settings().environment == "production"


@pytest.mark.parametrize("key", [None, "", "short", "socialflow-development-live"])
def test_production_refuses_a_weak_live_key(
    monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    """Whoever knows the live origin's key can start and stop every channel; without live it opens nothing."""
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("SECRET_KEY", "9f" * 32)
    if key is not None:
        monkeypatch.setenv("LIVE_KEY", key)
    with pytest.raises(ConfigError, match=r"LIVE_KEY is .*secrets\.token_hex"):
        load_settings()

    monkeypatch.setenv("FEATURE_LIVE_ENABLED", "false")
    assert load_settings().environment == "production"


def test_secrets_are_not_shown() -> None:
    """Printing the settings shows no password and no key."""
    shown = repr(load_settings())

    assert "socialflow:socialflow" not in shown
    assert "development-only-secret" not in shown
    assert "socialflow-development" not in shown


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("FEATURE_REDIS_ENABLE", "FEATURE_REDIS_ENABLED"),
        ("FEATURE_TWO_FA_ENABLED", "FEATURE_2FA_ENABLED"),
        ("feature_mll_enabled", "FEATURE_ML_ENABLED"),
        ("FEATURE_X", "FEATURE_S3_ENABLED"),
    ],
)
def test_an_unknown_flag_is_refused(monkeypatch: pytest.MonkeyPatch, typo: str, meant: str) -> None:
    """A switch with a typo would silently not switch, so it is one line that names the nearest real one."""
    monkeypatch.setenv(typo, "false")
    with pytest.raises(ConfigError) as wrong:
        load_settings()

    assert str(wrong.value).startswith(f"{typo}: there is no such feature flag; did you mean FEAT")
    assert typo == "FEATURE_X" or str(wrong.value).endswith(f"did you mean {meant}?")
    assert "\n" not in str(wrong.value)


def test_each_mistake_in_flags_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong values and unknown names are told at once, one line each; other names are none of our business."""
    monkeypatch.setenv("FEATURE_S3_ENABLED", "perhaps")
    monkeypatch.setenv("FEATURE_LIVE_ENABLED", "")
    monkeypatch.setenv("FEATURE_CELLERY_ENABLED", "true")
    monkeypatch.setenv("SOME_OTHER_PROGRAM", "x")
    with pytest.raises(ConfigError) as wrong:
        load_settings()

    lines = str(wrong.value).splitlines()
    assert [line.split(":")[0].split("=")[0] for line in lines] == [
        *("FEATURE_S3_ENABLED", "FEATURE_LIVE_ENABLED", "FEATURE_CELLERY_ENABLED"),
    ]
    assert "FEATURE_S3_ENABLED='perhaps': input should be a valid boolean" in lines[0]


@pytest.mark.parametrize(
    ("value", "origins"),
    [
        ("", ()),
        ("*", ("*",)),
        (
            "https://app.example, http://localhost:3000",
            ("https://app.example", "http://localhost:3000"),
        ),
    ],
)
def test_origins_are_a_list(
    monkeypatch: pytest.MonkeyPatch, value: str, origins: tuple[str, ...]
) -> None:
    """None, all, or scheme://host[:port] each."""
    monkeypatch.setenv("CORS_ALLOW_ORIGINS", value)

    assert load_settings().cors_allow_origins == origins


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("*,https://app.example", "nothing can stand beside it"),
        ("app.example", "'app.example' must be an origin"),
        ("https://app.example/", "must be an origin"),
        ("https://app.example/path", "must be an origin"),
        ("https://*.example", "must be an origin"),
        ("https://App.Example", "in lower case"),
        ("null", "must be an origin"),
        ("file://x", "must be an origin"),
        ("https://user@app.example", "must be an origin"),
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: str, says: str
) -> None:
    """It would never match, or match more than was meant; one line says so."""
    monkeypatch.setenv("CORS_ALLOW_ORIGINS", value)
    with pytest.raises(ConfigError) as wrong:
        load_settings()

    assert str(wrong.value).startswith(f"CORS_ALLOW_ORIGINS={value!r}: ")
    assert says in str(wrong.value)
    assert "\n" not in str(wrong.value)
