"""Every setting of the product: one frozen object, read from `CX_*` and `cx.toml`, validated at start."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta

from streams.confidential import ConfigError as ConfigError  # noqa: PLC0414 - for those who read settings
from streams.confidential import credentials_problem, shown, without_use
from streams.confidential import is_loopback as is_loopback  # noqa: PLC0414 - for those who read addresses of settings
from streams.confidential import read_secret as read_secret  # noqa: PLC0414 - and files that settings name
from streams.events.limits import MAX_BYTES, MAX_DEPTH, MAX_DIGITS, MAX_VALUES
from streams.kpis.language.steps import known_zones
from streams.settings_file import SettingLine, read_lines
from streams.shipped import RULES

PREFIX = "CX_"
_MOST_PROBLEMS = 50

Seconds = Annotated[float, Meta(gt=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    All settings with their defaults.

    `CX_<NAME>` wins over `cx.toml`, that over the defaults. Times are seconds, sizes bytes unless names say otherwise.
    """

    kafka: str = "127.0.0.1:9092"
    """Bootstrap servers, comma-separated `host:port`."""
    kafka_security: Annotated[str, Meta(pattern="^(PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL)$")] = "PLAINTEXT"
    kafka_sasl_mechanism: Annotated[str, Meta(pattern="^(PLAIN|SCRAM-SHA-256|SCRAM-SHA-512|OAUTHBEARER)$")] = (
        "SCRAM-SHA-512"
    )
    kafka_user: str = ""
    """The SASL user; with `kafka_token_url` the client's id."""
    kafka_password_file: str = ""
    """File that holds the SASL password, or the client's secret: secrets are never settings themselves."""
    kafka_token_file: str = ""
    """For OAUTHBEARER: file of the access token, read for every connection; something else renews it."""
    kafka_token_url: str = ""
    """For OAUTHBEARER, instead of a file: https endpoint that gives tokens for the client's id and secret."""
    kafka_token_scope: str = ""
    kafka_token_ca_file: str = ""
    """Authority of the token endpoint's certificate; empty: those of the system, as for every `_ca_file`."""
    kafka_ca_file: str = ""
    """PEM file of the authority that signed the certificates of the other side."""
    kafka_cert_file: str = ""
    """PEM file of our own certificate with its chain, where the other side asks for one (mTLS)."""
    kafka_key_file: str = ""
    """PEM file of its key, not encrypted; empty: it is in the certificate's file."""
    app_id: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]*$")] = "cx"
    """Name of the Faust application: consumer group and changelog prefix."""
    topic_prefix: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]*$")] = "cx"
    partitions: Annotated[int, Meta(ge=1, le=1024)] = 4
    """Partitions of every topic; the unit of scaling, fixed once topics exist."""
    replication: Annotated[int, Meta(ge=1, le=15)] = 1
    broker_session_s: Annotated[float, Meta(ge=4, le=300)] = 30.0
    """A worker that is silent for so long loses its partitions to the others. Apache Kafka takes 6 or more."""
    instance: str = ""
    """Name of this worker that outlives it, e.g. its pod: restarted under it, it goes on at once. Never used twice."""
    sole_worker: bool = False
    """Whether this is the only worker: it joins no group, and a restart waits for nobody. One per data folder runs."""
    epoch: Annotated[int, Meta(ge=0, le=65_535)] = 0
    """Raise by one whenever topics were deleted and created anew: offsets start again, stored positions must not."""

    clickhouse: str = "http://127.0.0.1:8123"
    """Base URL of the ClickHouse HTTP interface."""
    clickhouse_database: Annotated[str, Meta(pattern="^[A-Za-z_][A-Za-z0-9_]*$")] = "cx"
    clickhouse_user: str = "default"
    clickhouse_password_file: str = ""
    clickhouse_reader_user: str = "cx_reader"
    """Who `cx query` asks as, once the next setting names its password; without, it asks as `clickhouse_user`."""
    clickhouse_reader_password_file: str = ""
    clickhouse_ca_file: str = ""
    clickhouse_cert_file: str = ""
    """Our own certificate, as for Kafka; without a password file it is also what ClickHouse knows the user by."""
    clickhouse_key_file: str = ""
    clickhouse_cluster: Annotated[str, Meta(pattern="^[A-Za-z_][A-Za-z0-9_]*$|^$")] = ""
    """Cluster for which `cx migrate` makes replicated and sharded tables; empty: one server."""
    keep_events_days: Annotated[int, Meta(ge=8)] = 400
    """Days that raw events are kept from their arrival; what is gone cannot be verified or recomputed."""
    keep_dead_letters_days: Annotated[int, Meta(ge=1)] = 400
    keep_text_days: Annotated[int, Meta(ge=0)] = 0
    """Days after which payloads and free text are emptied in rows that stay; 0: they stay as long as their rows."""
    keep_minutes_days: Annotated[int, Meta(ge=8)] = 1_100
    """Days that KPI minutes are kept; the rolling windows of seven days are rebuilt from them."""
    keep_hours_days: Annotated[int, Meta(ge=8)] = 1_100
    keep_daily_days: Annotated[int, Meta(ge=8)] = 3_650
    keep_values_days: Annotated[int, Meta(ge=1)] = 90
    """Days that rolling values are kept as published; every minute adds one per series and window."""
    keep_alerts_days: Annotated[int, Meta(ge=1)] = 1_100

    privacy: Literal["on", "off"] = "on"
    """Whether personal data is taken out of records before anything is stored or published: docs/PRIVACY.md."""
    privacy_key_file: str = ""
    """File of the keys of pseudonyms, alike for all workers; empty: `secrets/privacy.key` of `data_dir`, made once."""
    privacy_subjects: Literal["recognised", "all"] = "recognised"
    """Who is named gets a pseudonym if that is an address, a number or a name of a person; or always."""
    privacy_fields: str = ""
    """Fields that name a person, comma-separated, beside `subject`, `alias` and `merged_into`."""
    privacy_names_file: str = ""
    """File of names of people, one a line, which are masked wherever they are written; empty: none."""
    privacy_address_case: bool = False
    """Whether addresses that differ in upper and lower case before the @ are different people."""

    sends: str = ""
    """Event types that are sent though none came yet, `type` or `channel/type`: their absence is 0 %, not unknown."""
    kpis_path: str = ""
    """A YAML file, or a folder of them, with further KPI definitions; `:`-separated when several."""
    rules_path: str = ""
    """As `kpis_path`, with alert rules and calendars; those shipped if empty."""
    relations: str = ""
    """Ids of the relations that run, with commas between, or `all`."""
    relations_path: str = ""
    """As `kpis_path`, with relations and clocks, beside those shipped."""
    experiments_path: str = ""
    """As `kpis_path`, with plans of experiments; the shipped one, of the simulator, if empty."""
    actions_path: str = ""
    """As `kpis_path`, with actions on drivers of satisfaction; those shipped, of the simulator, if empty."""
    cases: str = ""
    """As `kpis_path`, with rules that open cases for unhappy customers; `shipped`: those shipped; empty: none."""
    surveys_path: str = ""
    """As `kpis_path`, with rules that say who may be asked; those shipped, of the simulator, if empty."""
    surveys_live: bool = False
    """Whether workers decide who may be asked, as it happens, by the rules of `surveys_path`."""
    promises_path: str = ""
    """As `kpis_path`, with what customers are promised of service; those shipped, of the simulator, if empty."""
    lateness_s: Annotated[float, Meta(ge=0)] = 60.0
    """Allowed disorder: the watermark of a partition stays this far behind its newest event."""
    retention_s: Seconds = 86_400.0
    """An event older than the newest of its source partition by more than this is *late*: stored, but in no KPI."""
    dedup_ids: Annotated[int, Meta(ge=1_000)] = 200_000
    """Event ids remembered per source partition; older ids leave in the order of arrival."""
    ingest_flush_s: Seconds = 0.75
    """Time between two ranges of a source; what they bring is merged, published and stored at once."""
    merge_flush_s: Seconds = 0.5
    store_flush_s: Seconds = 0.75
    """Time between two inserts into ClickHouse; small ones cost it more than large ones."""
    open_publish_s: Seconds = 1.0
    """Shortest time between two publications of windows up to 15 minutes that end with an open minute; longer windows
    take five times that, the minute itself half."""
    max_batch: Annotated[int, Meta(ge=100)] = 10_000
    """Records per fetched batch, at most (cut at Kafka record-batch edges)."""
    max_range: Annotated[int, Meta(ge=100)] = 40_000
    """Records per frozen range, at most, rounded up to whole batches."""
    max_range_bytes: Annotated[int, Meta(ge=65_536)] = 4_194_304
    """Payload bytes per frozen range, at most; a single record may be larger."""
    record_bytes: Annotated[int, Meta(ge=1_024, le=MAX_BYTES)] = MAX_BYTES
    """Length of a record; longer ones are refused as `too_large`. The contract's limit, as are the next three."""
    record_depth: Annotated[int, Meta(ge=8, le=MAX_DEPTH)] = MAX_DEPTH
    """Levels of objects and arrays in a record; deeper ones are refused as `too_deep`."""
    record_values: Annotated[int, Meta(ge=64, le=MAX_VALUES)] = MAX_VALUES
    """Members of objects and items of arrays in a record; more are refused as `too_many_values`."""
    record_digits: Annotated[int, Meta(ge=20, le=MAX_DIGITS)] = MAX_DIGITS
    """Digits of a number; longer ones are refused as `number_too_long`."""
    idle_s: Seconds = 10.0
    """A source partition that was silent for so long no longer holds back the watermark of the others."""
    breaker_ratio: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """Share of bad records above which a source partition is stopped if good ones are missing; 1 never stops it."""
    breaker_min: Annotated[int, Meta(ge=1)] = 20
    """Fewer bad records within `breaker_window_s` stop nothing."""
    breaker_at_once: Annotated[int, Meta(ge=1)] = 2_000
    """So many bad records stop it at once; fewer must have come over five seconds or more."""
    breaker_window_s: Annotated[float, Meta(ge=10, le=86_400)] = 300.0
    """Time back to which records are counted; every stretch of it that ends now can stop the partition."""
    clock_limit_s: Annotated[float, Meta(ge=1, le=600)] = 120.0
    """A worker's clock that differs by more than this from ClickHouse's or Kafka's is in doubt."""
    touchpoints_path: str = ""
    """A YAML file with the touchpoints of the organisation instead of those shipped; all others count as `unknown`."""
    series_cap: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    """Label combinations per KPI and grouping; of more, the largest are kept and the rest is counted as `(other)`."""
    series_memory_mb: Annotated[int, Meta(ge=16, le=65_536)] = 256
    """MiB for the series of all merge partitions, of which each has an equal part; then the largest are kept."""
    series_channel_share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """Share of that memory for series that one channel brought, where there are others; alone, it may take 7 / 8."""
    series_sender_share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """Part of it for one sender, the `source` that events name, where there are others; alone, it may take 3 / 4."""

    alertmanagers: str = ""
    """Base URLs of Alertmanagers, comma-separated; every one of them is sent every alert."""
    alert_resend_s: Annotated[float, Meta(ge=1, le=140)] = 60.0
    """Time between two messages of an alert that fires; below half of Alertmanager's `resolve_timeout` of 5 minutes."""
    alertmanager_ca_file: str = ""
    alertmanager_cert_file: str = ""
    alertmanager_key_file: str = ""
    alertmanager_user: str = ""
    """For basic authentication, with a password file."""
    alertmanager_password_file: str = ""
    alertmanager_token_file: str = ""
    """File of a bearer token, read for every request."""
    webhooks: str = ""
    """URLs that get every transition of every alert, comma-separated; https, or plain http to this machine only."""
    case_webhooks: str = ""
    """As `webhooks`, for every change of every case."""
    webhook_secret_file: str = ""
    """File with the key that webhooks are signed with; one that starts with `whsec_` is Base64."""
    webhook_ca_file: str = ""
    webhook_cert_file: str = ""
    webhook_key_file: str = ""
    webhook_user: str = ""
    webhook_password_file: str = ""
    webhook_token_file: str = ""
    public_url: str = ""
    """Where people reach the dashboards, for links in alerts; empty: alerts come without."""
    board_url: str = ""
    """Where people reach the live page, for a link in alerts; empty: alerts come without. `cx up` sets it."""
    alert_words_s: Seconds = 1.0
    """An alert waits so long for customers' words and for what else moved; then it goes out without them."""
    alert_horizon_h: Annotated[float, Meta(gt=0, le=24 * 365)] = 24.0
    """Closed minutes further behind the clock are history: never alerted on."""

    zone: str = "UTC"
    """Time zone of hours, days, weeks and months, e.g. `Asia/Tehran`; `cx migrate` tells the store."""
    calendar: Literal["gregorian", "jalali"] = "gregorian"
    """Calendar of months and years, and of the dates beside them."""
    week_starts: Literal["", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"] = ""
    """First day of the week; empty: Saturday with the Jalali calendar, else Monday."""
    windows: Annotated[str, Meta(pattern="^[1-9][0-9]{0,3}[mhd]([ ,]+[1-9][0-9]{0,3}[mhd])*$")] = "1m 5m 15m 1h 24h 7d"
    """Rolling windows that are kept; those longer than a day begin with a full hour."""

    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Meta(ge=0, le=65_535)] = 9464
    """Port of `/metrics` of a worker; 0 switches it off."""
    workers: str = ""
    """Metrics of all workers, comma-separated `host:port`, which the live page asks; empty: the two above."""
    board_host: str = "127.0.0.1"
    """Where the live page listens; reading needs no login."""
    board_port: Annotated[int, Meta(ge=1, le=65_535)] = 8080
    board_viewers: Annotated[int, Meta(ge=1)] = 200
    """Event streams of the live page at a time; each open page has one."""
    board_client_viewers: Annotated[int, Meta(ge=1)] = 20
    """Of these, from one address."""
    board_write_key_file: str = ""
    """File of the key that people sign in with to act on cases on the live page; empty: there it only shows."""
    http_hosts: str = ""
    """Further names by which live page, metrics and a door without keys are asked, comma-separated; others get 421."""
    http_proxies: str = ""
    """Addresses or networks of proxies, comma-separated: whom they name in `X-Forwarded-For` is the client."""
    collect_host: str = "127.0.0.1"
    """Where the HTTP door for events listens; beyond this machine it asks for keys."""
    collect_port: Annotated[int, Meta(ge=0, le=65_535)] = 8090
    """0: a free one, which `cx collect` tells."""
    collect_processes: Annotated[int, Meta(ge=1, le=64)] = 1
    """Processes of the door on one port; limits are those of each, and so is its memory."""
    collect_keys_file: str = ""
    """TOML file of the keys that senders need, each with what it may send; empty: no keys, this machine only."""
    collect_origins: str = ""
    """Origins of the pages whose scripts may send, e.g. `https://shop.example`, comma-separated; empty: none."""
    collect_body_bytes: Annotated[int, Meta(ge=1_024, le=64 * 1024 * 1024)] = 1_048_576
    """Longest body of a request, also once it is unpacked."""
    collect_events: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    """Most events in one request."""
    collect_events_per_s: Annotated[float, Meta(gt=0)] = 2_000.0
    """Events that a key may send per second, for those that the file does not say otherwise of."""
    collect_connections: Annotated[int, Meta(ge=1)] = 1_000
    """Connections at a time; whoever comes beyond them is told to try again."""
    collect_client_connections: Annotated[int, Meta(ge=1)] = 64
    """Of these, from one address."""
    collect_client_share: Annotated[float, Meta(gt=0, le=1)] = 0.25
    """Share of a process's time that one address may use while the process is short of it; else it has to wait."""
    collect_key_share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """The same of one key, whoever uses it; what comes beyond it is told to try again."""
    collect_in_flight_bytes: Annotated[int, Meta(ge=65_536)] = 33_554_432
    """Memory for requests that are being read or wait for Kafka; whoever comes beyond it is told to try again."""
    collect_read_s: Seconds = 10.0
    """A sender has so long for the head of a request, and so long again for its body."""
    collect_timeout_s: Annotated[float, Meta(ge=0.5, le=120)] = 5.0
    """Longest wait for Kafka to confirm a request's events."""
    collect_metrics_port: Annotated[int, Meta(ge=0, le=65_535)] = 9465
    """Port of `/metrics` of the door, at `metrics_host`; 0 switches it off."""
    synthetic_path: str = ""
    """Files and folders of synthetic paths, separated as in PATH; empty: those shipped."""
    synthetic_door: str = ""
    """Where `cx synthetic run` finds the HTTP door, e.g. `https://events.example`; empty: at `collect_host`."""
    synthetic_key_file: str = ""
    """File with the key by which it sends there; empty: none."""
    mail_server: Annotated[str, Meta(pattern=r"^(smtps?://[^\s/?#]+)?$")] = ""
    """By which `cx report --mail` sends: `smtp://host:587` asks for STARTTLS, `smtps://host:465` is TLS at once."""
    mail_ca_file: str = ""
    mail_user: str = ""
    mail_password_file: str = ""
    mail_from: str = ""
    """Address of the sender."""
    mail_report_to: str = ""
    """Addresses that get the digest, comma-separated."""
    data_dir: str = ".cx"
    """Where the embedded run keeps its store, logs and state."""
    changelog_copy: bool = False
    """Keep a copy of changelogs in `data_dir`: for a broker that never shortens them, as `cx up` has and sets it."""
    log_level: Annotated[str, Meta(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"

    def kafka_password(self) -> str:
        """Return the SASL password, or an empty string when no file is set."""
        return read_secret("kafka_password_file", self.kafka_password_file)

    def clickhouse_password(self) -> str:
        """Return the ClickHouse password, or an empty string when no file is set."""
        return read_secret("clickhouse_password_file", self.clickhouse_password_file)

    def clickhouse_reader_password(self) -> str:
        """Return the ClickHouse password of the reader, or an empty string when no file is set."""
        return read_secret("clickhouse_reader_password_file", self.clickhouse_reader_password_file)

    def webhook_secret(self) -> str:
        """Return the key that webhooks are signed with, or an empty string when no file is set."""
        return read_secret("webhook_secret_file", self.webhook_secret_file)


def kpi_paths(settings: Settings) -> list[Path]:
    """Return the files and folders with further KPI definitions."""
    return [Path(part) for part in settings.kpis_path.split(os.pathsep) if part]


def rule_paths(settings: Settings) -> list[Path]:
    """Return the files and folders with alert rules; by default those shipped."""
    return [Path(part) for part in settings.rules_path.split(os.pathsep) if part] or [RULES]


def window_names(settings: Settings) -> tuple[str, ...]:
    """Return the rolling windows, each once."""
    return tuple(dict.fromkeys(settings.windows.replace(",", " ").split()))


def load(file: Path | None = None, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """
    Read the settings: defaults, then `cx.toml` (or `file`, or `CX_CONFIG`), then `CX_*`, then `overrides`.

    Raises:
        ConfigError: a file or a value is unusable; every wrong value is named, with its line in the file.
    """
    return load_with_origins(file, environ, **overrides)[0]


def load_with_origins(
    file: Path | None = None, environ: Mapping[str, str] | None = None, **overrides: Any
) -> tuple[Settings, Mapping[str, str]]:
    """Read the settings as `load` does; tell of each that is not the default where it comes from."""
    environ = os.environ if environ is None else environ
    known = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    problems: list[str] = []

    if file is None and (environ.get("CX_CONFIG") or Path("cx.toml").is_file()):
        file = Path(environ.get("CX_CONFIG") or "cx.toml")
    if file is not None:
        for name, value, line in _lines(file):
            where = f"{file}, line {line}"
            if len(problems) == _MOST_PROBLEMS:
                problems.append(f"{file}: and more")
                break
            if name not in known:
                problems.append(f"{where}: unknown setting {name!r}{_suggest(name, known)}")
            else:
                values[name], origin[name] = value, where

    reserved = {"CX_CONFIG", "CX_DATA", "CX_REQUIRE_KAFKA", "CX_REQUIRE_CHROMIUM"}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in reserved:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in known:
            if difflib.get_close_matches(name, known, 1, 0.8):
                problems.append(f"environment: unknown setting {variable}{_suggest(name, known)}")
            continue
        values[name], origin[name] = text, f"environment variable {variable}"

    for name, value in overrides.items():
        if value is not None:
            values[name], origin[name] = value, f"option --{name.replace('_', '-')}"

    hints = get_type_hints(Settings, include_extras=True)
    for name in list(values):
        try:
            values[name] = msgspec.convert(values[name], hints[name], strict=False)
        except msgspec.ValidationError as exc:
            problems.append(f"{origin[name]}: {name} = {shown(name, values[name])!r}: {exc}")
        if problem := credentials_problem(name, values[name]):
            problems.append(f"{origin[name]}: {name} {problem}")
    if problems:
        raise ConfigError("\n".join(problems))
    settings = Settings(**values)
    if settings.zone != "UTC" and settings.zone not in known_zones():
        hint = _suggest(settings.zone, dict.fromkeys(known_zones())) or "; expected one such as Asia/Tehran"
        raise ConfigError(f"{origin['zone']}: zone = {settings.zone!r}: no such time zone{hint}")
    if unused := without_use(settings):
        raise ConfigError("\n".join(f"{origin[name]}: {name} {why}" for name, why in unused))
    if settings.series_memory_mb < settings.partitions:
        raise ConfigError(
            f"{origin.get('series_memory_mb') or origin['partitions']}: series_memory_mb = {settings.series_memory_mb}:"
            f" each of {settings.partitions} partitions needs 1 MiB or more for its series"
        )
    return settings, origin


def _lines(file: Path) -> list[SettingLine]:
    try:
        return read_lines(file)
    except ValueError as exc:
        raise ConfigError(str(exc)) from exc


def _suggest(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else ""
