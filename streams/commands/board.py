"""`cx board`: the live page, against any ClickHouse that a worker fills."""

import click

from streams.board.server import serve
from streams.commands.output import plain_errors
from streams.commands.printing import echo, log_to_stderr
from streams.settings import is_loopback, load
from streams.storage.connection import address_of


@click.command()
@click.option("--host", help="Where to listen; default: only this machine (CX_BOARD_HOST).")
@click.option("--port", type=click.IntRange(1, 65_535), help="Default: 8080 (CX_BOARD_PORT).")
@plain_errors
def board(host: str | None, port: int | None) -> None:
    """Serve the live page: KPIs, alerts, verbatims and the pipeline's health.

    It only reads ClickHouse (CX_CLICKHOUSE; a user who may read is enough), however many look at it.
    It has no login and shows what customers wrote: beyond this machine, put it behind something that has.
    """
    settings = load(board_host=host, board_port=port)
    log_to_stderr(settings.log_level)
    if not is_loopback(settings.board_host):
        echo(f"cx board: {settings.board_host} can be reached from elsewhere, and the page has no login", err=True)
    echo(f"live page at http://{settings.board_host}:{settings.board_port}/")
    serve(address_of(settings), settings)
