"""`cx rules test`: rules tried on minutes that somebody wrote down."""

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from streams.alerts.parsing import load_rules
from streams.alerts.rules import RuleBook
from streams.alerts.ruletest import Result, RuleTest, run
from streams.alerts.testfiles import read_file, read_tests
from streams.commands.output import as_json_option, print_json
from streams.kpis.blocks import CatalogueError
from streams.kpis.catalogue import Catalogue
from streams.settings import Settings, kpi_paths, load, rule_paths, window_names

SHIPPED_TESTS = Path(__file__).resolve().parents[2] / "deploy" / "rules" / "tests"

WRONG_INPUT = 2
"""Exit code when rules, tests or options cannot be right."""


def refused(error: Exception) -> None:
    """Tell what cannot be right, and end."""
    click.echo(str(error), err=True)
    sys.exit(WRONG_INPUT)


def book_of(settings: Settings, paths: Iterable[Path], catalogue: Catalogue) -> RuleBook:
    """Read the rules of the paths, else those configured; raises CatalogueError if they cannot be right."""
    return load_rules(tuple(paths) or rule_paths(settings), catalogue, windows=window_names(settings))


@click.command("test")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--only", help="Only tests whose name contains this.")
@as_json_option
def rules_test(paths: tuple[Path, ...], *, only: str | None, as_json: bool) -> None:
    r"""Play the tests of rules in PATHS (files, or folders with *.yaml), else those of the shipped rules.

    A test has minutes of some series, written in one line each, and says which alerts there are when; docs/RULES.md
    tells how.

    \b
    Exit codes: 0 all as expected, 1 something else happened, 2 a file cannot be right.
    """
    settings = load()
    windows = window_names(settings)
    tests: list[tuple[RuleTest, RuleBook]] = []
    try:
        catalogue = Catalogue.load(kpi_paths(settings))
        books: dict[tuple[Path, ...], RuleBook] = {}
        files = [file for path in paths or (SHIPPED_TESTS,) for file in _files(path)]
        for file in files:
            given = read_file(file.read_text(encoding="utf-8"), str(file))
            rules = tuple((file.parent / name).resolve() for name in given.rules)
            if rules not in books:
                books[rules] = book_of(settings, rules, catalogue)
            for test in read_tests(given, books[rules], catalogue):
                if only is None or only.lower() in test.name.lower():
                    tests.append((test, books[rules]))
    except (CatalogueError, OSError) as error:
        refused(error)
    results: list[Result] = []
    for test, book in tests:
        results.append(run(test, book, windows))
        if not as_json:
            _tell(results[-1])
    if not results:
        click.echo(f"no test{'' if only is None else f' has {only!r} in its name'}", err=True)
        sys.exit(WRONG_INPUT)
    wrong = [result for result in results if result.problems]
    if as_json:
        print_json([result._asdict() for result in results])
    else:
        minutes = sum(result.minutes for result in results)
        click.echo(f"{len(results) - len(wrong)} of {len(results)} tests as expected, {minutes:,} minutes played")
    if wrong:
        sys.exit(1)


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.yaml")) if path.is_dir() else [path]


def _tell(result: Result) -> None:
    click.echo(f"{'not as expected' if result.problems else 'ok':15}  {result.name}")
    for problem in result.problems:
        click.echo(f"  {problem}", err=True)
