"""`cx status` and `cx doctor`: what the workers do, and whether all they need is there and right."""

import dataclasses
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

import click
import msgspec

from streams.agents.clocks import store_time
from streams.commands.output import as_json_option, plain_errors, print_json, table, wrapped
from streams.commands.personal import look_for_personal_data
from streams.commands.printing import echo
from streams.confidential import shown
from streams.definitions import catalogue_of, touchpoints_of
from streams.delivery.endpoint import AddressError, read_addresses
from streams.delivery.reach import unreachable
from streams.engine.rights import rights_of
from streams.engine.topics import TopicsError, check_topics, topic_plan
from streams.events.text import MAX_LABEL
from streams.events.touchpoints import TouchpointError
from streams.events.visible import visible_line
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.blocks import CatalogueError
from streams.local.observe import UNCOUNTED_WAY_OUT, WorkerState, worker_places, worker_state
from streams.secured.kafka import kafka_client_options
from streams.secured.web import ReceiverAccess
from streams.settings import PREFIX, ConfigError, Settings, load, load_with_origins
from streams.start.check import examine
from streams.storage.connection import FAILURES, StorageError, address_of, connect, explain
from streams.storage.migrations import pending
from streams.storage.unknown import unknown_fields

Verdict: TypeAlias = Literal["right", "wrong", "unknown"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_CHANNELS = ("web", "app", "store", "call_center")
_OUTCOMES = ("read", "counted", "duplicate", "late", "bad", "conflict")


@click.command()
@click.option(
    "--at", "places", multiple=True, metavar="HOST:PORT", help="Metrics of a worker; repeatable.  [default: settings]"
)
@as_json_option
@plain_errors
def status(places: tuple[str, ...], *, as_json: bool) -> None:
    """Show what workers have done since they started: records by outcome, lag by topic, watermarks.

    Asks their /metrics, at CX_WORKERS or CX_METRICS_HOST and CX_METRICS_PORT unless --at says otherwise.
    Exit code 1 if a worker does not answer, has stopped a partition because most of its records are bad, has a clock
    that is wrong, or does not get something stored.

    \b
    Examples:
      cx status
      cx status --at worker-1:9464 --at worker-2:9464 --json
    """
    settings = load()
    asked = worker_places(settings, places)
    now = datetime.now(UTC).timestamp()
    states = {f"{host}:{port}": worker_state(port, host) for host, port in asked}
    fine = all(state is not None and not _problems(state) for state in states.values())
    if as_json:
        workers = {
            place: None if state is None else {**dataclasses.asdict(state), "idle": state.idle}
            for place, state in states.items()
        }
        print_json({"ok": fine, "workers": workers})
        sys.exit(0 if fine else 1)
    for place, state in states.items():
        if state is None:
            echo(f"no worker answers at http://{place}/metrics: is it running, and is the port right?", err=True)
            continue
        _print_state(place, state, now)
    sys.exit(0 if fine else 1)


def _print_state(place: str, state: WorkerState, now: float) -> None:
    echo(f"worker at {place}: {'idle' if state.idle else 'busy'}, {state.cpu_s:,.1f} CPU seconds")
    echo(wrapped("  " + ", ".join(f"{name} {state.outcomes.get(name, 0):,}" for name in _OUTCOMES), 2))
    if state.mended:
        found = ", ".join(f"{what} {number:,}" for what, number in sorted(state.mended.items()))
        echo(f"  mended: {found}; see docs/PRODUCERS.md")
    rows = []
    for channel in _CHANNELS:
        mark = state.watermarks.get(channel)
        reached = "" if mark is None else datetime.fromtimestamp(mark, UTC).strftime("%Y-%m-%d %H:%M:%S")
        behind = "" if mark is None else f"{max(0.0, now - mark):,.0f} s"
        rows.append((channel, f"{state.channels.get(channel, 0):,}", reached, behind))
    echo(_indented(table(("channel", "read", "watermark (UTC)", "behind now"), rows)))
    echo(_indented(table(("topic", "lag"), [(topic, f"{lag:,}") for topic, lag in sorted(state.lag.items())])))
    if state.clocks:
        echo(f"  clock: {_clock(state)}")
    if state.set_aside:
        echo(f"  set aside {state.set_aside:,}: see `cx dlq list --reason refused_by_store`")
    for fate, times in state.labels.items():
        echo(f"  labels: {times:,} {fate}")
    for problem in _problems(state):
        echo(wrapped(f"  {problem}", 4), err=True)


def _problems(state: WorkerState) -> list[str]:
    """Return what is wrong with a worker, and where to go from there."""
    found = [f"{one.source} {one.text}; {one.ways_out}" for one in state.stopped]
    if state.clock_wrong:
        found.append(
            f"the worker's clock is in doubt ({_clock(state)}): set it; see CxClockWrong in docs/OPERATIONS.md"
        )
    if state.waiting:
        found.append(f"{', '.join(state.waiting)} wait for a right clock; nothing is lost")
    if state.uncounted:
        found.append(
            f"nothing more is counted of {', '.join(state.uncounted)}, whose ranges contradict each other:"
            f" {UNCOUNTED_WAY_OUT}"
        )
    found += [
        f"{one.what} is not stored since {datetime.fromtimestamp(one.since, UTC):%Y-%m-%d %H:%M:%S} UTC,"
        f" {'it is tried again now and then' if one.held else 'it is being repeated'}; nothing is lost: {one.why}"
        for one in state.not_stored
    ]
    return found


def _clock(state: WorkerState) -> str:
    return ", ".join(f"{name} {ahead:+,.0f} s" for name, ahead in sorted(state.clocks.items()))


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


@dataclasses.dataclass(slots=True)
class Finding:
    """One thing that was checked."""

    what: str
    verdict: Verdict
    text: str


class _Doctor:
    """Checks one thing after the other; what hangs on something that is wrong is not guessed at."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.findings: list[Finding] = []
        self._unreachable = ""
        """Why Kafka cannot be asked."""

    def examine(self) -> list[Finding]:
        """Check everything."""
        catalogue = self._check("catalogue", self._catalogue)
        touchpoints = self._check("touchpoints", self._touchpoints)
        self._check("kafka", self._kafka)
        self._check("worker", self._worker)
        if self.settings.alertmanagers or self.settings.webhooks or self.settings.case_webhooks:
            self._check("receivers of alerts", self._receivers)
        self._check("start", self._start)
        if self._check("clickhouse", self._clickhouse) is None:
            for what in (
                "clock", "migrations", "subjects", "ids", "stored catalogue", "stored touchpoints",
                "unknown touchpoints", "unknown fields",
            ):  # fmt: skip
                self.findings.append(Finding(what, "unknown", "not checked: ClickHouse does not answer"))
            return self.findings
        self._check("clock", self._clock)
        if self._check("migrations", self._migrations) is not None:
            self._check("subjects", self._scattered_subjects)
            self._check("ids", self._ids_counted_twice)
            if catalogue is not None:
                self._check("stored catalogue", lambda: self._stored_catalogue(catalogue))
            if touchpoints is not None:
                self._check("stored touchpoints", lambda: self._stored_touchpoints(touchpoints))
                self._check("unknown touchpoints", lambda: self._unknown_touchpoints(touchpoints))
            self._check("unknown fields", self._unknown_fields)
        return self.findings

    def _check(self, what: str, check: Callable[[], tuple[Any, str]]) -> Any:
        try:
            found, text = check()
        except (
            StorageError,
            TopicsError,
            CatalogueError,
            TouchpointError,
            ConfigError,
            AddressError,
            _WrongError,
        ) as error:
            self.findings.append(Finding(what, "wrong", str(error)))
            return None
        self.findings.append(Finding(what, "unknown" if found is None else "right", text))
        return found

    def _catalogue(self) -> tuple[Catalogue, str]:
        catalogue = catalogue_of(self.settings)
        return catalogue, f"{len(catalogue)} KPI definitions"

    def _touchpoints(self) -> tuple[set[str], str]:
        found = set(touchpoints_of(self.settings))
        return found, f"{len(found)} touchpoints"

    def _kafka(self) -> tuple[bool, str]:
        settings = self.settings
        plan = topic_plan(settings.partitions, settings.replication, settings.app_id, settings.topic_prefix)
        rights = rights_of("worker", settings.topic_prefix, settings.app_id)
        try:
            problems = check_topics(settings.kafka, plan, rights, **kafka_client_options(settings))
        except TopicsError as error:
            self._unreachable = str(error)
            raise
        if problems:
            raise _WrongError("; ".join(problems))
        return True, f"{settings.kafka} answers, {len(plan)} topics with {settings.partitions} partitions each"

    def _start(self) -> tuple[bool | None, str]:
        if self._unreachable:
            return None, f"not checked: {self._unreachable}"  # each try takes a quarter of a minute
        try:
            verdict = examine(self.settings, address_of(self.settings))
        except TopicsError as error:  # which the check of Kafka says, too
            return None, f"not checked: {error}"
        if verdict.action == "refuse" or verdict.expired:
            raise _WrongError(str(verdict))
        if verdict.case == "right":
            return True, verdict.text
        then = "" if verdict.action == "go" else "; the next start of a worker restores it"
        return None, f"{verdict.text}{then}"

    def _worker(self) -> tuple[bool | None, str]:
        settings = self.settings
        if not settings.metrics_port:
            return None, "CX_METRICS_PORT=0: workers serve no metrics"
        place = f"{settings.metrics_host}:{settings.metrics_port}"
        state = worker_state(settings.metrics_port, settings.metrics_host)
        if state is None:
            return None, f"none answers at http://{place}/metrics: start one by `cx worker`"
        if problems := _problems(state):
            raise _WrongError("; ".join(problems))
        aside = f", {state.set_aside:,} rows set aside" if state.set_aside else ""
        return True, f"one answers at {place}, {sum(state.lag.values()):,} records on their way{aside}"

    def _receivers(self) -> tuple[bool, str]:
        settings = self.settings
        alerting, hooking = ReceiverAccess.of("alertmanager", settings), ReceiverAccess.of("webhook", settings)
        alertmanagers = read_addresses("alertmanagers", settings.alertmanagers, encrypted=alerting.secret)
        webhooks = read_addresses("webhooks", settings.webhooks, encrypted=True)
        webhooks += read_addresses("case_webhooks", settings.case_webhooks, encrypted=True)
        problems = unreachable(alertmanagers, webhooks, alerting, hooking)
        if problems:
            raise _WrongError("; ".join(problems))
        return True, f"{len(alertmanagers)} Alertmanagers answer, {len(webhooks)} webhooks can be connected to"

    def _clickhouse(self) -> tuple[bool, str]:
        with closing(connect(address_of(self.settings), timeout_s=10.0, database="")) as client:
            return True, f"{self.settings.clickhouse} answers: version {client.server_version}"

    def _clock(self) -> tuple[bool, str]:
        with closing(connect(address_of(self.settings), timeout_s=10.0, database="")) as client:
            said, _ = store_time(client)
        ahead = said - datetime.now(UTC).timestamp()
        if abs(ahead) > self.settings.clock_limit_s:
            raise _WrongError(
                f"ClickHouse's is {ahead:+,.0f} s from this machine's, more than CX_CLOCK_LIMIT_S: set the wrong one;"
                " workers with a wrong clock let their partitions wait"
            )
        return True, f"within {abs(ahead) + 1:.0f} s of ClickHouse's"

    def _migrations(self) -> tuple[bool, str]:
        waiting = pending(address_of(self.settings))
        if waiting:
            raise _WrongError(
                f"not applied to {self.settings.clickhouse_database}: {', '.join(waiting)}; run `cx migrate`"
            )
        return True, f"{self.settings.clickhouse_database} is up to date"

    def _stored_catalogue(self, catalogue: Catalogue) -> tuple[bool, str]:
        stored = {row[0]: row[1] for row in self._rows("SELECT id, definition FROM kpis FINAL")}
        missing = [kpi.id for kpi in catalogue if kpi.id not in stored]
        other = [kpi.id for kpi in catalogue if stored.get(kpi.id, kpi.definition_id) != kpi.definition_id]
        if missing or other:
            parts = [f"missing: {', '.join(missing)}"] * bool(missing) + [
                f"defined otherwise: {', '.join(other)}"
            ] * bool(other)
            raise _WrongError(f"{'; '.join(parts)}; run `cx migrate`")
        return True, "as in this version"

    def _stored_touchpoints(self, touchpoints: set[str]) -> tuple[bool, str]:
        stored = {row[0] for row in self._rows("SELECT touchpoint FROM touchpoints FINAL")}
        missing = sorted(touchpoints - stored)
        if missing:
            raise _WrongError(f"{len(missing)} are missing, e.g. {missing[0]}; run `cx migrate`")
        return True, "as in this version"

    def _unknown_touchpoints(self, touchpoints: set[str]) -> tuple[bool | None, str]:
        rows = self._rows(
            "SELECT touchpoint, count() AS times FROM events WHERE outcome = 'counted' AND touchpoint != ''"
            " AND time > now() - INTERVAL 1 DAY GROUP BY touchpoint ORDER BY times DESC, touchpoint LIMIT 1000"
        )
        found = [row for row in rows if row[0] not in touchpoints]
        if found:
            shown = [(visible_line(touchpoint)[:MAX_LABEL], times) for touchpoint, times in found[:10]]
            named = ", ".join(f"{touchpoint} ({times:,} times)" for touchpoint, times in shown)
            more = " and more" * (len(found) > 10)
            return None, (
                f"in no dictionary, and counted as `unknown`, within a day: {named}{more}; mend the sender or name them"
                " in a file and set CX_TOUCHPOINTS_PATH"
            )
        return True, "none within a day"

    def _unknown_fields(self) -> tuple[bool | None, str]:
        with closing(connect(address_of(self.settings), timeout_s=10.0)) as client:
            found = unknown_fields(client)
        if found:
            more = f" and {len(found) - 5} more" * (len(found) > 5)
            return None, f"stored, but in no KPI: {'; '.join(map(str, found[:5]))}{more}; see `cx schemas unknown`"
        return True, "none within a day"

    def _scattered_subjects(self) -> tuple[bool, str]:
        rows = self._rows(
            "SELECT topic, count(), any(subject), any(partitions) FROM (SELECT topic, subject,"
            " arraySort(groupUniqArray(partition)) AS partitions FROM events WHERE ingested_at > now() - INTERVAL 1 DAY"
            # What was said of a key before it was linked to another one is taken back where that one is.
            " AND topic NOT LIKE '%.derived' GROUP BY topic, subject HAVING length(partitions) > 1)"
            " GROUP BY topic ORDER BY topic"
        )
        if rows:
            found = "; ".join(
                f"{count:,} of {topic}, e.g. {visible_line(subject)} in {', '.join(map(str, places))}"
                for topic, count, subject, places in rows
            )
            raise _WrongError(
                f"subjects that lie in several partitions, where repeats are not found: {found}; set the partitioner"
                " of their producers, see docs/PRODUCERS.md#partitions"
            )
        return True, "each subject of the last day lies in one partition of its topic"

    def _ids_counted_twice(self) -> tuple[bool, str]:
        rows = self._rows(
            "SELECT topic, count(), any(named), any(places) FROM (SELECT topic, any((id, source)) AS named,"
            " arraySort(groupUniqArray(partition)) AS places FROM events WHERE ingested_at > now() - INTERVAL 1 HOUR"
            " AND outcome = 'counted' GROUP BY topic, sipHash128(source, id) HAVING count() > 1)"
            " GROUP BY topic ORDER BY topic"
        )
        if rows:
            found = "; ".join(
                f"{count:,} of {topic}, e.g. {visible_line(id_)} of {visible_line(source)}"
                f" in {', '.join(map(str, places))}"
                for topic, count, (id_, source), places in rows
            )
            raise _WrongError(
                f"events that were counted twice, in several partitions: {found}; set the partitioner of their"
                " producers, and the same subject whenever an event is sent again, see docs/PRODUCERS.md#partitions"
            )
        return True, "no id of the last hour was counted twice"

    def _rows(self, sql: str) -> Any:
        with closing(connect(address_of(self.settings), timeout_s=10.0)) as client:
            try:
                return client.query(sql).result_rows
            except FAILURES as error:
                raise explain(error, "reading what is stored") from error


class _WrongError(Exception):
    """What was checked is not right; the text says what to do."""


@click.command()
@click.option("--personal-data", is_flag=True, help="Look for personal data in clear in all tables and topics of ours.")
@click.option("--planted", type=_FILE, help="With it: a file of identifiers that were sent, one a line.")
@click.option("--file", "files", type=_FILE, multiple=True, help="With it: a log, export … to look at as well.")
@as_json_option
def doctor(*, personal_data: bool, planted: Path | None, files: tuple[Path, ...], as_json: bool) -> None:
    """Explain the settings in force, and check everything a worker needs.

    Changes nothing. Exit code 1 if something is wrong; each such line says what to do. With --personal-data: 1 if any
    is in clear; then it is said where, in which field and of what kind, never the value. docs/PRIVACY.md tells more.

    \b
    Examples:
      cx doctor
      CX_KAFKA=broker:9092 cx doctor --json
      cx doctor --personal-data --file .cx/logs/worker.log
    """
    if personal_data:
        look_for_personal_data(load(), planted, files, as_json=as_json)
    if planted or files:
        raise click.UsageError("--planted and --file go with --personal-data")
    settings, origins = load_with_origins()
    joined = {name.removeprefix(PREFIX).lower() for name in click.get_current_context().find_root().obj or ()}
    origins = {name: "the run of cx up here" if name in joined else origin for name, origin in origins.items()}
    findings = _Doctor(settings).examine()
    fine = not any(finding.verdict == "wrong" for finding in findings)
    values = {name: shown(name, value) for name, value in msgspec.structs.asdict(settings).items()}
    if as_json:
        print_json({
            "ok": fine,
            "settings": {
                name: {"value": value, "from": origins.get(name, "default")} for name, value in values.items()
            },
            "findings": [dataclasses.asdict(finding) for finding in findings],
        })  # fmt: skip
        sys.exit(0 if fine else 1)
    rows = [(name, value, origins.get(name, "default")) for name, value in values.items()]
    echo(table(("setting", "value", "from"), rows))
    echo()
    for finding in findings:
        mark = {"right": "ok   ", "wrong": "WRONG", "unknown": "?    "}[finding.verdict]
        echo(wrapped(f"{mark} {finding.what}: {finding.text}", len(mark) + 1))
    sys.exit(0 if fine else 1)
