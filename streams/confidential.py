"""Settings of secrets and secured connections: what may be shown of them, and which must be refused."""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

HIDDEN: Final = "…"


class ConfigError(Exception):
    """The configuration is unusable; the text names setting and place, what came and what is expected."""


# Settings that hold URLs or addresses, and the settings that take what must not stand in one.
_INSTEAD: Final = {
    "kafka": "kafka_user and kafka_password_file",
    "kafka_token_url": "kafka_user and kafka_password_file",
    "clickhouse": "clickhouse_user and clickhouse_password_file",
    "alertmanagers": "alertmanager_user and alertmanager_password_file, or alertmanager_token_file",
    "webhooks": "webhook_user and webhook_password_file, or webhook_token_file",
    "case_webhooks": "webhook_user and webhook_password_file, or webhook_token_file",
    "mail_server": "mail_user and mail_password_file",
}
_SECRET_FILE: Final = re.compile(r"_(password|secret|token|write_key)_file$")
_IN_AUTHORITY: Final = re.compile(r"://[^/?#\s]*@")


def shown(name: str, value: object) -> object:
    """
    Return the value of a setting as it may be printed.

    URLs lose user, password and query; those of webhooks their path too, since it often is the secret. The name of a
    secret's file is kept if there is such a file or it looks like a path: else it may be the secret itself.
    """
    if not isinstance(value, str) or not value:
        return value
    if _SECRET_FILE.search(name):
        return value if value.startswith(("/", "./", "../", "~")) or Path(value).is_file() else HIDDEN
    if name in _INSTEAD or "://" in value:
        return ",".join(_shown_address(part.strip(), hide_path=name.endswith("webhooks")) for part in value.split(","))
    return value


def read_secret(name: str, path: str) -> str:
    """
    Return what the file of a setting holds, without white space around it; nothing if no file is set.

    Raises:
        ConfigError: it cannot be read, or is empty; the text names setting and file.
    """
    if not path:
        return ""
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as exc:
        said = exc.strerror if isinstance(exc, OSError) else "it is no text"
        raise ConfigError(f"{name}: cannot read {shown(name, path)!r}: {said}") from exc
    if not text:
        raise ConfigError(f"{name}: {path!r} is empty")
    return text


def credentials_problem(name: str, value: object) -> str:
    """Return why a value is refused: a user, password or other secret stands in an address; empty if none does."""
    if not isinstance(value, str):
        return ""
    inside = _IN_AUTHORITY.search(value) is not None or (name == "kafka" and "@" in value)
    if not inside and not (name in {"clickhouse", "kafka_token_url"} and "?" in value):
        return ""
    instead = _INSTEAD.get(name)
    return "holds credentials: " + (f"put them into {instead}" if instead else "leave them out")


def without(text: str, *secrets: str) -> str:
    """Return a text of somebody else, e.g. an answer, without the secrets that it may repeat."""
    for secret in secrets:
        if len(secret) > 1:
            text = text.replace(secret, HIDDEN)
    return text


def without_use(settings: Any) -> list[tuple[str, str]]:
    """Return settings that would be silently ignored, and why: most often a connection is not as safe as meant."""
    problems: list[tuple[str, str]] = []

    def needs(condition: bool, names: Iterable[str], why: str) -> None:
        if not condition:
            problems.extend((name, why) for name in names if getattr(settings, name))

    tls = settings.kafka_security.endswith("SSL")
    needs(tls, ("kafka_ca_file", "kafka_cert_file", "kafka_key_file"), "has no use: kafka_security has no SSL")
    sasl = settings.kafka_security.startswith("SASL")
    needs(sasl, ("kafka_user", "kafka_password_file"), "has no use: kafka_security has no SASL")
    bearer = sasl and settings.kafka_sasl_mechanism == "OAUTHBEARER"
    needs(bearer, ("kafka_token_file", "kafka_token_url"), "has no use: it is for SASL with OAUTHBEARER")
    endpoint = ("kafka_token_scope", "kafka_token_ca_file")
    needs(bool(settings.kafka_token_url), endpoint, "has no use without kafka_token_url")
    needs(not settings.kafka_token_url, ("kafka_token_file",), "and kafka_token_url exclude each other")
    secure = settings.clickhouse.startswith("https:")
    files = ("clickhouse_ca_file", "clickhouse_cert_file", "clickhouse_key_file")
    needs(secure, files, "has no use: clickhouse is no https address")
    mail = ("mail_ca_file", "mail_user", "mail_password_file", "mail_from", "mail_report_to")
    needs(bool(settings.mail_server), mail, "has no use without mail_server")
    needs(bool(settings.mail_user), ("mail_password_file",), "has no use without mail_user")
    needs(bool(settings.mail_password_file), ("mail_user",), "has no use without mail_password_file")
    for name in ("kafka", "clickhouse", "alertmanager", "webhook"):
        key, certificate = f"{name}_key_file", f"{name}_cert_file"
        needs(bool(getattr(settings, certificate)), (key,), f"has no use without {certificate}")
    for name in ("alertmanager", "webhook"):
        user, password, token = f"{name}_user", f"{name}_password_file", f"{name}_token_file"
        needs(bool(getattr(settings, user)), (password,), f"has no use without {user}")
        needs(bool(getattr(settings, password)), (user,), f"has no use without {password}")
        needs(not getattr(settings, user), (token,), f"and {user} exclude each other")
    return problems


def _shown_address(address: str, *, hide_path: bool) -> str:
    bare = address.rpartition("@")[2] if "://" not in address else address
    if "://" not in bare:
        return f"{HIDDEN}@{bare}" if bare != address else bare
    try:
        parts = urlsplit(address)
    except ValueError:
        return HIDDEN
    user, at, host = parts.netloc.rpartition("@")
    path = f"/{HIDDEN}" if hide_path and parts.path not in {"", "/"} else parts.path
    query = f"?{HIDDEN}" if parts.query else ""
    fragment = f"#{HIDDEN}" if parts.fragment else ""
    return f"{parts.scheme}://{HIDDEN if user else ''}{at}{host}{path}{query}{fragment}"


def is_loopback(host: str) -> bool:
    """Return whether a host name or address means this machine alone."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
