"""`cx rules`: which alert rules there are, what each does, and whether they can be right."""

import json
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from streams.alerts.rules.defaults import GROUP
from streams.alerts.rules.parsing import load_rules
from streams.alerts.rules.rules import Rule, RuleBook
from streams.commands.arguments import AlertType, KpiIdType, MomentType, When
from streams.commands.output import plain_errors, table
from streams.commands.printing import echo
from streams.commands.rules_history import narrowed_to, refused, rules_backtest, rules_test
from streams.commands.rules_past import check_against_store
from streams.commands.rules_tune import rules_tune
from streams.definitions import catalogue_of
from streams.kpis.language.blocks import CatalogueError
from streams.settings import load, rule_paths, window_names

_PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "RULES.md"
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def rules() -> None:
    """List, show, check, test, backtest and tune alert rules.

    Those shipped, or those of the setting rules_path (CX_RULES_PATH); docs/RULES.md describes every key.
    """


rules.add_command(rules_test)
rules.add_command(rules_backtest)
rules.add_command(rules_tune)


def load_book(paths: tuple[Path, ...] = ()) -> RuleBook:
    """Read the rules of the paths, else those configured; exit with 1 and every problem if they cannot be right."""
    try:
        return _loaded(paths)
    except CatalogueError as exc:
        echo(str(exc), err=True)
        sys.exit(1)


def _loaded(paths: tuple[Path, ...]) -> RuleBook:
    settings = load()
    catalogue = catalogue_of(settings)
    return load_rules(paths or rule_paths(settings), catalogue, windows=window_names(settings))


@rules.command("list")
@_JSON
@click.option("--severity", type=click.Choice(["page", "ticket", "info"]), help="Only rules that can be worth this.")
@click.option("--kpi", type=KpiIdType(), help="Only rules that judge this KPI.")
def rules_list(*, as_json: bool, severity: str | None, kpi: str | None) -> None:
    """List all rules."""
    found = [rule for rule in load_book() if severity in {None, *_severities(rule)} and kpi in {None, rule.kpi.id}]
    if as_json:
        echo(json.dumps([plain(rule) for rule in found], ensure_ascii=False))
        return
    rows = [
        (rule.alert, "/".join(_severities(rule)), rule.kpi.id, _by(rule), rule.method, rule.window, rule.group)
        for rule in found
    ]
    columns = ("ALERT", "SEVERITY", "KPI", "BY", "METHOD", "WINDOW", "GROUP")
    echo(table(columns, rows, least=("GROUP", "METHOD", "WINDOW")))


@rules.command("show")
@click.argument("alert", type=AlertType())
@_JSON
def rules_show(alert: str, *, as_json: bool) -> None:
    """Show one rule with all that it says and all that it leaves to defaults."""
    try:
        rule = load_book()[alert]
    except KeyError as exc:
        echo(exc.args[0], err=True)
        sys.exit(1)
    if as_json:
        echo(json.dumps(plain(rule), ensure_ascii=False))
        return
    echo(f"{rule.alert}: {rule.kpi.name}, {_by(rule)} [{rule.place}]\n  {rule.kpi.question}")
    for label, value in _described(rule):
        echo(f"  {label:11} {value}")


@rules.command("check")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--against-store", is_flag=True, help="Say what each rule would do on series like those in ClickHouse.")
@click.option("--only", multiple=True, type=AlertType(), help="With --against-store: only this rule; repeatable.")
@click.option("--from", "start", type=MomentType(), help="With --against-store: its start.  [default: 28 days]")
@click.option("--to", "end", type=MomentType(), help="With --against-store: its end.  [default: the newest minute]")
@_JSON
@plain_errors
def rules_check(
    paths: tuple[Path, ...],
    *,
    against_store: bool,
    only: tuple[str, ...],
    start: When | None,
    end: When | None,
    as_json: bool,
) -> None:
    """Check rules and calendars: those in PATHS, else the configured ones.

    With --against-store each rule is tried on series drawn from its KPI's own past, by whole days or weeks: false
    alarms to expect, the smallest change seen within a day, or that it cannot fire at this volume.

    Exit codes: 0 all sound, 1 problems, each with file and line, or no history.
    """
    if not against_store and (only or start or end):
        raise click.UsageError("--only, --from and --to need --against-store")
    problems: tuple[str, ...] = ()
    book = RuleBook.of()
    try:
        book = _loaded(paths)
    except CatalogueError as exc:
        problems = exc.problems
    if paths and not problems and not book.calendars and all(rule.place == GROUP for rule in book):
        problems = (f"{', '.join(map(str, paths))}: no rule and no calendar in it",)
    if against_store and not problems:
        try:
            chosen = narrowed_to(book, only)
        except ValueError as error:
            refused(error)
        check_against_store(chosen, start, end, as_json=as_json)
        return
    if as_json:
        found = {"rules": len(book), "calendars": len(book.calendars), "problems": list(problems)}
        echo(json.dumps(found, ensure_ascii=False))
    elif problems:
        echo("\n".join(problems), err=True)
        echo(f"{len(problems)} problems; docs/RULES.md describes every key", err=True)
    else:
        paging = sum("page" in _severities(rule) for rule in book)
        echo(f"{len(book)} alert rules ({paging} of them page) and {len(book.calendars)} calendars, all sound")
    if problems:
        sys.exit(1)


@rules.command("docs")
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if docs/RULES.md is not what would be written.")
def rules_docs(*, check: bool) -> None:
    """Write the tables of docs/RULES.md from what rules are read by."""
    from streams.alerts.rules.reference import filled  # noqa: PLC0415

    text = _PAGE.read_text(encoding="utf-8")
    if not check:
        _PAGE.write_text(filled(text), encoding="utf-8")
    elif filled(text) != text:
        echo("docs/RULES.md is not up to date: run `cx rules docs`", err=True)
        sys.exit(1)


def plain(rule: Rule) -> dict[str, Any]:
    """Return a rule as plain values, under the keys of rule files."""
    return {
        "alert": rule.alert,
        "group": rule.group,
        "kpi": rule.kpi.id,
        "definition": rule.kpi.definition_id,
        "by": list(rule.by),
        "where": {label: list(values) for label, values in rule.where.items()},
        "window": rule.window,
        **({"lengthen": rule.longer[-1]} if rule.longer else {}),
        "method": rule.method,
        "params": msgspec.to_builtins(rule.params),
        "min_n": rule.min_n,
        "min_denominator": rule.min_denominator,
        "for": f"{rule.for_minutes}m",
        "keep_firing_for": f"{rule.keep_firing_minutes}m",
        "recover": {
            "above": rule.recover.above,
            "below": rule.recover.below,
            "for": f"{rule.recover.for_minutes}m",
        },
        "no_data": {
            "action": rule.no_data.action,
            "for": f"{rule.no_data.for_minutes}m",
            "limit": f"{rule.no_data.limit_minutes}m",
        },
        "maturity": rule.maturity,
        "inhibit_by": list(rule.inhibit_by),
        "mute": list(rule.mute),
        "severity": rule.severity,
        "severity_by": {label: dict(values) for label, values in rule.severity_by.items()},
        "owner": rule.owner,
        "runbook": rule.runbook,
        "dashboard": rule.dashboard,
        "labels": {name: text.source for name, text in rule.labels.items()},
        "annotations": {name: text.source for name, text in rule.annotations.items()},
        "limit": rule.limit,
        "place": rule.place,
    }


def _described(rule: Rule) -> list[tuple[str, str]]:
    """Say in words what a rule does."""
    params = {key: value for key, value in msgspec.to_builtins(rule.params).items() if value not in {None, ""}}
    recover = [f"above {rule.recover.above:g}"] if rule.recover.above is not None else []
    recover += [f"below {rule.recover.below:g}"] if rule.recover.below is not None else []
    others = [
        f"{severity} where {label} is {value}"
        for label, values in rule.severity_by.items()
        for value, severity in values.items()
    ]
    rows = [
        ("kpi", f"{rule.kpi.id} [{rule.kpi.definition_id}], {rule.kpi.unit}, {rule.maturity}"),
        ("by", _by(rule)),
        ("where", "; ".join(f"{label} is {' or '.join(values)}" for label, values in rule.where.items())),
        ("method", f"{rule.method} over {rule.window}: {', '.join(f'{key} {value}' for key, value in params.items())}"),
        ("lengthens", f"to {rule.longer[-1]} at most, while n < {rule.min_n}" if rule.longer else ""),
        ("gates", f"n ≥ {rule.min_n}; what it is compared with ≥ {rule.min_denominator}"),
        (
            "fires",
            f"after {rule.for_minutes} min, for {rule.keep_firing_minutes} min more; at most {rule.limit} at once",
        ),
        ("recovers", f"{' and '.join(recover)}, for {rule.recover.for_minutes} min" if recover else ""),
        ("no data", f"{rule.no_data.action} after {rule.no_data.for_minutes} min"),
        ("unjudged", f"it fires on for at most {rule.no_data.limit_minutes} min"),
        ("inhibited", " or ".join(rule.inhibit_by)),
        ("muted", ", ".join(rule.mute)),
        ("severity", "; ".join([rule.severity, *others])),
        ("owner", rule.owner),
        ("runbook", rule.runbook),
        ("dashboard", rule.dashboard),
        *((f"{name}:", text.source.strip()) for name, text in {**rule.labels, **rule.annotations}.items()),
    ]
    return [(label, value) for label, value in rows if value]


def _severities(rule: Rule) -> list[str]:
    """List what the alerts of a rule can be worth, the worst first."""
    given = {rule.severity, *(severity for values in rule.severity_by.values() for severity in values.values())}
    return sorted(given, key=["page", "ticket", "info"].index)


def _by(rule: Rule) -> str:
    return " × ".join(rule.by) or "overall"
