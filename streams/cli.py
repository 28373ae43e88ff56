"""The command `cx`: one door to everything, thin over the packages. docs/OPERATIONS.md tells what exit codes mean."""

import errno
import gc
import importlib
import logging
import os
import sys
from pathlib import Path
from typing import Any, Final

import click

from streams import __version__
from streams.commands.printing import echo, give_up_output, write_what_encodings_lack
from streams.settings import ConfigError, load_with_origins

# Command → module that defines it, and its help: modules are imported when used, so that `cx --help` is instant.
_COMMANDS = {
    "up": ("streams.commands.up", "Run everything here: broker, ClickHouse, worker, traffic, live view."),
    "worker": ("streams.commands.worker", "Run one worker against the configured Kafka and ClickHouse."),
    "topics": ("streams.commands.worker", "Create the topics, or check them."),
    "simulate": ("streams.commands.traffic", "Produce realistic traffic of all four channels."),
    "replay": ("streams.commands.traffic", "Produce the events of a data set or of a JSONL file."),
    "collect": ("streams.commands.collect", "Serve the HTTP door: events from browsers, apps and webhooks."),
    "migrate": ("streams.commands.store", "Bring the ClickHouse schema up to date."),
    "query": ("streams.commands.store", "Ask ClickHouse: SQL, or a KPI over a window."),
    "verify": ("streams.commands.store", "Recompute every KPI from the stored events and compare."),
    "repair": ("streams.commands.store", "Take away rows that are stored twice."),
    "dlq": ("streams.commands.dlq", "List, explain and replay dead letters."),
    "forget": ("streams.commands.people", "Erase people; KPIs stay as they are."),
    "export": ("streams.commands.people", "Print what is stored of a person."),
    "sources": ("streams.commands.sources", "Show stopped source partitions, and let them go on."),
    "board": ("streams.commands.board", "Serve the live page: KPIs, alerts, verbatims, pipeline."),
    "report": ("streams.commands.report", "Write what changed in a week, in HTML or PDF."),
    "status": ("streams.commands.health", "Show what the workers do: lag, watermarks, outcomes."),
    "doctor": ("streams.commands.health", "Check settings, Kafka, topics, ClickHouse and what is stored there."),
    "kpis": ("streams.commands.contract", "List, show and check KPI definitions."),
    "cases": ("streams.commands.cases", "Show cases of unhappy customers, and act on them."),
    "relations": ("streams.commands.relations", "List, show, check and test relations between events."),
    "surveys": ("streams.commands.surveys", "Say who may be asked, and whether enough are heard."),
    "products": ("streams.commands.products", "Find products that come back more often than they did."),
    "synthetic": ("streams.commands.synthetic", "Go scripted paths, and see whether all that is sent arrives."),
    "experiments": ("streams.commands.experiments", "Compare the variants of experiments in any KPI."),
    "drivers": ("streams.commands.drivers", "Rank what goes with satisfaction, and by how much."),
    "gaps": ("streams.commands.gaps", "Show gaps: channels, promises, beliefs, answers to feedback."),
    "value": ("streams.commands.value", "Show what customers are worth: retention, cohorts, tiers."),
    "dashboards": ("streams.commands.dashboards", "Generate and check Grafana's dashboards."),
    "rules": ("streams.commands.rules", "List, check, test, backtest and tune alert rules."),
    "schemas": ("streams.commands.contract", "Generate and check the event schemas."),
    "test": ("streams.commands.contract", "Run the tests (arguments go to pytest)."),
}
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What is said of a full disk, or a device that takes no more."""
_ALONE: Final = frozenset({"up", "worker", "test", "dashboards"})
"""Commands that need no run beside them, or must not join one."""


class _Lazy(click.Group):
    """Imports a command's module when the command is used; configuration errors end with exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        gc.disable()  # what modules make is there to stay: looking for garbage in it takes a tenth of a start
        module = importlib.import_module(_COMMANDS[cmd_name][0])
        gc.enable()
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        write_what_encodings_lack()
        if isinstance(logging.lastResort, logging.Handler):
            # What a driver finds wrong becomes an error that a command tells in its own words.
            logging.lastResort.addFilter(logging.Filter("streams"))
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.filename is not None or error.errno not in _NO_ROOM:
                raise
            give_up_output()
            echo(f"cannot write: {error.strerror}", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as exc:
            echo(f"configuration refused:\n{exc}", err=True)
            sys.exit(2)
        except ModuleNotFoundError as exc:
            missing = (exc.name or "").partition(".")[0]
            if missing in {"", "streams"}:
                raise
            echo(
                f"this needs the package {missing}, which is not installed: pip install 'cx-streams[local]' to run "
                "everything on this machine, 'cx-streams[worker]' for your own Kafka and ClickHouse",
                err=True,
            )
            sys.exit(2)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="cx")
@click.pass_context
def main(context: click.Context) -> None:
    """Live customer-experience KPIs from touchpoint events.

    Settings come from cx.toml and from CX_* in the environment; see README.md. Beside a running `cx up`, in the same
    folder, commands work on that run unless Kafka or ClickHouse are set.
    """
    context.obj = frozenset() if context.invoked_subcommand in _ALONE else _join_run()


def _join_run() -> frozenset[str]:
    """Take over the settings of a run of `cx up` in this folder; return the variables that came from it."""
    from streams.local.beside import settings_of_run  # noqa: PLC0415 - `cx up` and its parts have no use for it

    try:
        settings, origins = load_with_origins()
    except ConfigError:
        return frozenset()  # the command says what is wrong with them
    if {"kafka", "clickhouse"} & origins.keys():
        return frozenset()
    found = {name: value for name, value in settings_of_run(Path(settings.data_dir)).items() if name not in os.environ}
    os.environ.update(found)
    return frozenset(found)
