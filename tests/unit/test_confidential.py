"""Secrets in settings: refused where they must not stand, hidden where settings are shown."""

from pathlib import Path

import pytest

from streams.confidential import shown, without
from streams.settings import ConfigError, Settings, load

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clickhouse", f"https://cx:{SECRET}@store:8443"),
        ("clickhouse", f"https://store:8443/?password={SECRET}"),
        ("alertmanagers", f"http://one:9093,https://cx:{SECRET}@two"),
        ("webhooks", f"https://{SECRET}@hooks.example/in"),
        ("kafka_token_url", f"https://cx:{SECRET}@login.example/token"),
        ("kafka", f"cx:{SECRET}@broker:9093"),
        ("public_url", f"https://cx:{SECRET}@grafana.example"),
        ("collect_origins", f"https://cx:{SECRET}@shop.example"),
    ],
)
def test_credentials_in_an_address_are_refused_with_the_setting_to_use(name: str, value: str) -> None:
    """From the environment and from the file; the refusal does not repeat them."""
    with pytest.raises(ConfigError) as error:
        load(environ={f"CX_{name.upper()}": value})
    text = str(error.value)
    assert f"environment variable CX_{name.upper()}: {name} holds credentials: " in text
    assert SECRET not in text
    if name in {"kafka", "kafka_token_url", "clickhouse", "alertmanagers", "webhooks"}:
        instead = text.split("put them into ")[1].replace(",", "").split()
        assert {word for word in instead if "_" in word} <= set(Settings.__struct_fields__)


def test_a_value_of_the_wrong_kind_is_not_repeated_when_it_may_be_a_secret() -> None:
    """The error names the setting and the place; what came may be a webhook's secret path."""
    with pytest.raises(ConfigError) as error:
        load(environ={"CX_KAFKA_SECURITY": f"https://hooks.example/{SECRET}?{SECRET}", "CX_KAFKA_PASSWORD": SECRET})
    assert "kafka_security" in str(error.value)
    assert "unknown setting CX_KAFKA_PASSWORD; did you mean 'kafka_password_file'?" in str(error.value)
    assert f"?{SECRET}" not in str(error.value)


def test_a_password_in_place_of_its_file_is_not_shown() -> None:
    """The most careless mistake: it is refused as a file that does not exist, without its name."""
    settings = load(environ={"CX_KAFKA_PASSWORD_FILE": SECRET}, kafka_security="SASL_SSL")
    with pytest.raises(ConfigError, match="kafka_password_file: cannot read '…'"):
        settings.kafka_password()
    assert shown("kafka_password_file", SECRET) == "…"


def test_what_is_shown_of_a_setting(tmp_path: Path) -> None:
    """Enough to recognise it, not enough to use it."""
    path = tmp_path / "password"
    path.write_text("x")
    assert shown("kafka_password_file", str(path)) == str(path)
    assert shown("webhooks", f"https://a.example/services/{SECRET}, http://127.0.0.1:1") == (
        "https://a.example/…,http://127.0.0.1:1"
    )
    assert shown("webhooks", f"https://a.example/?token={SECRET}#{SECRET}") == "https://a.example/?…#…"
    assert shown("alertmanagers", f"https://u:{SECRET}@a/prefix?x={SECRET}") == "https://…@a/prefix?…"
    assert shown("kafka", f"u:{SECRET}@broker:9092,b:9092") == "…@broker:9092,b:9092"
    assert shown("webhooks", f"https://[{SECRET}") == "…"
    assert shown("case_webhooks", f"https://a.example/services/{SECRET}") == "https://a.example/…"
    assert shown("partitions", 4) == 4
    assert shown("windows", "1m 5m") == "1m 5m"


def test_words_of_others_lose_the_secrets_that_they_repeat() -> None:
    """A receiver answers 404 with the path that it was asked for."""
    assert without(f"no such hook: /in/{SECRET}", SECRET, "") == "no such hook: /in/…"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"kafka_ca_file": "/ca"}, "kafka_security has no SSL"),
        ({"kafka_user": "cx"}, "kafka_security has no SASL"),
        ({"kafka_security": "SASL_SSL", "kafka_token_file": "/t"}, "it is for SASL with OAUTHBEARER"),
        ({"clickhouse_ca_file": "/ca"}, "clickhouse is no https address"),
        ({"webhook_key_file": "/key"}, "webhook_key_file has no use without webhook_cert_file"),
        ({"alertmanager_user": "cx"}, "alertmanager_user has no use without alertmanager_password_file"),
        (
            {"alertmanager_user": "cx", "alertmanager_password_file": "/p", "alertmanager_token_file": "/t"},
            "alertmanager_token_file and alertmanager_user exclude each other",
        ),
    ],
)
def test_a_setting_that_would_be_ignored_is_refused(given: dict[str, str], why: str) -> None:
    """Who sets an authority believes to be encrypted."""
    with pytest.raises(ConfigError) as error:
        load(environ={f"CX_{name.upper()}": value for name, value in given.items()})
    assert why in str(error.value)
    assert "environment variable CX_" in str(error.value)
