"""The digest of a week as a mail: the page, its lines as text for who reads no HTML, and a PDF if there is one."""

import re
from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

from streams.board.report import WeekAlert, WeekRow
from streams.events.visible import visible
from streams.wording.texts import Lang, Texts

_ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")

# A no-break space between a number and its unit stays: a mail program must not put them on two lines.
_BLANKS: Final = re.compile(r"[^\S\u00a0\u202f]+")


def addresses(setting: str, listed: str) -> list[str]:
    """
    Return the addresses of a comma-separated list, each once.

    Raises:
        ValueError: There is none, or one is no address; the text names the setting.
    """
    found = list(dict.fromkeys(part.strip() for part in listed.split(",") if part.strip()))
    if not found:
        raise ValueError(f"{setting}: nothing is set; expected addresses such as insight@example.org")
    for one in found:
        if not _ADDRESS.fullmatch(one):
            raise ValueError(f"{setting}: {one!r} is no address; expected one such as insight@example.org")
    return found


def week_lines(rows: Sequence[WeekRow], alerts: Sequence[WeekAlert], span: str, lang: Lang) -> str:
    """Return the digest as plain text: a KPI or an alert a line, what changed surely first."""
    t = Texts(lang)
    lines = [t["week_report"], span, ""]
    for row in rows:
        n = f" ({t['n']} {row.n})" if row.n else ""
        if row.mark:
            change = f"{t[row.mark]}: {row.difference} ({t['baseline']} {row.before})"
        else:
            change = f"{t['no_clear_change']} ({row.difference})" if row.before else t["no_baseline"]
        lines.append(_line("; ".join(filter(None, (f"{row.name}: {row.value}{n}", change, *row.where, row.owner)))))
    lines += ["", t["alerts"], *(_line(f"{one.when}: {one.summary}; {one.owner}") for one in alerts)]
    return "\n".join(lines if alerts else [*lines, t["no_alerts"]]) + "\n"


def _line(text: str) -> str:
    """Return a text in one line, so that a text from outside cannot look like another line."""
    return visible(_BLANKS.sub(" ", text).strip())


def week_mail(
    page: str, text: str, span: str, lang: Lang, *, sender: str, to: Sequence[str], at: datetime, pdf: bytes | None
) -> EmailMessage:
    """
    Return the digest as a message.

    Args:
        page: The digest as HTML.
        text: Its lines, see `week_lines`.
        span: The week, as people write it.
        lang: Of what it says.
        sender: Address.
        to: Addresses.
        at: When it is sent.
        pdf: The digest as a file to keep, if there is one.
    """
    message = EmailMessage()
    message["Subject"] = f"{Texts(lang)['week_report']}: {span}"
    message["From"], message["To"] = sender, ", ".join(to)
    message["Date"] = format_datetime(at)
    message["Content-Language"] = lang
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    message.add_alternative(page, subtype="html")
    if pdf is not None:
        message.add_attachment(pdf, maintype="application", subtype="pdf", filename=f"week-{at:%Y-%m-%d}.pdf")
    return message
