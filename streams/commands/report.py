"""`cx report`: the digest of a week as HTML or PDF, and by mail."""

import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import click

from streams.board.report import WEEK_S, read_week, render_week, week_alerts, week_rows
from streams.board.report_mail import addresses, week_lines, week_mail
from streams.board.store import BoardStore
from streams.commands.arguments import MomentType, When
from streams.commands.output import plain_errors
from streams.commands.printing import echo
from streams.secured.mail import MailError, MailServer
from streams.settings import Settings, load
from streams.storage.connection import address_of
from streams.storage.queries import as_reader
from streams.wording.moments import ZoneTimes
from streams.wording.texts import LANGS, Lang

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@click.command()
@click.option("--week", is_flag=True, required=True, help="Of seven days, against the seven before.")
@click.option("--to", "end", type=MomentType(), help="End of the week.  [default: now]")
@click.option("--lang", type=click.Choice(LANGS), default="en", show_default=True, help="English or Persian.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("report.html"), show_default=True,
              help="File to write; one named *.pdf is made by Chromium.")  # fmt: skip
@click.option("--mail", is_flag=True, help="Send it to CX_MAIL_REPORT_TO by CX_MAIL_SERVER as well, a PDF attached.")
@plain_errors
def report(*, week: bool, end: When | None, lang: Lang, out: Path, mail: bool) -> None:  # noqa: ARG001 - only weeks yet
    """Write what changed beyond noise in a week, where, whose it is, and which alerts fired.

    \b
    Examples:
      cx report --week
      cx report --week --lang fa --out week.pdf
      cx report --week --lang fa --out week.pdf --mail

    Exit codes: 0 written, and sent to all with --mail; 1 it could not be written, or sent to somebody.
    """
    settings = load()
    sent_by = _sent_by(settings) if mail else None
    moment = end.moment() if end else datetime.now(UTC)
    until = int(moment.timestamp()) // 60 * 60
    times = ZoneTimes(settings.zone)
    store = BoardStore(as_reader(address_of(settings), settings))
    try:
        infos = store.catalogue()
        rows = week_rows(read_week(store, infos, until), infos, lang)
        alerts = week_alerts(store.alerts(until - WEEK_S) or (), until - WEEK_S, until, lang, times)
    finally:
        store.close()
    page = render_week(rows, alerts, until - WEEK_S, until, lang, times)
    if out.suffix == ".pdf":
        _print(page, out)
    else:
        _write(page, out)
    echo(f"wrote {out}: {len(rows)} KPIs, {len(alerts)} alerts")
    if sent_by is not None:
        server, sender, to = sent_by
        span = times.span(until - WEEK_S, until, lang)
        pdf = out.read_bytes() if out.suffix == ".pdf" else None
        text = week_lines(rows, alerts, span, lang)
        message = week_mail(page, text, span, lang, sender=sender, to=to, at=datetime.now(UTC), pdf=pdf)
        _send(server, message, len(to))


def _sent_by(settings: Settings) -> tuple[MailServer, str, list[str]]:
    """Return the server, the sender and whom it is to, before anything is asked: what is missing is said at once."""
    try:
        senders, to = addresses("mail_from", settings.mail_from), addresses("mail_report_to", settings.mail_report_to)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if len(senders) > 1:
        raise click.ClickException(f"mail_from: {settings.mail_from!r} names several; expected one address")
    return MailServer.of(settings), senders[0], to


def _send(server: MailServer, message: EmailMessage, recipients: int) -> None:
    try:
        refused = server.send(message)
    except MailError as error:
        raise click.ClickException(str(error)) from error
    if refused:
        raise click.ClickException(f"sent, but the mail server refuses {'; '.join(refused)}")
    echo(f"sent to {recipients} {'address' if recipients == 1 else 'addresses'}")


def _write(page: str, out: Path) -> None:
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{out} cannot be written: {error.strerror}") from error


def _print(page: str, out: Path) -> None:
    """Have Chromium print a page."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise click.ClickException(
            f"a PDF takes Chromium: none of {', '.join(BROWSERS)} is on PATH; write *.html instead"
        )
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "report.html"
        source.write_text(page, encoding="utf-8")
        done = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer",
             f"--user-data-dir={folder}/profile", f"--print-to-pdf={out.resolve()}", source.as_uri()],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    if done.returncode or not out.exists():
        raise click.ClickException(f"{browser} made no PDF: {done.stderr.strip()[-300:]}")
