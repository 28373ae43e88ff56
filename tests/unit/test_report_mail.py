"""The digest by mail: what it says, over which connections it goes, and what is told when it does not."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest

from streams.board.report import WeekAlert, WeekRow
from streams.board.report_mail import addresses, week_lines, week_mail
from streams.secured.mail import MailError, MailServer
from streams.settings import ConfigError, Settings, load
from tests.harness.mailbox import Mailbox
from tests.harness.secured import Authority

AT = datetime(2026, 11, 28, 7, tzinfo=UTC)
ROWS = [
    WeekRow("رضایت (CSAT)", "cx", "۷۱٫۲ ٪", "۱٬۲۰۰", "۷۶٫۰ ٪", "−۴٫۸ واحد", "worse", ("کانال وب: −۹٫۱ واحد",)),
    WeekRow("NPS", "insight", "31", "", "30", "+1", "", ()),
    WeekRow("FCR", "", "60 %", "12", "", "", "", ()),
]
ALERTS = [WeekAlert("digital", "پرداخت‌ها ناموفق‌اند", "", "شنبه ۷ آذر، ۱۰:۳۰")]


def mail(pdf: bytes | None = None, to: tuple[str, ...] = ("a@example.org",)) -> EmailMessage:
    lines = week_lines(ROWS, ALERTS, "هفته", "fa")
    return week_mail("<p>رضایت</p>", lines, "هفته", "fa", sender="cx@example.org", to=to, at=AT, pdf=pdf)


def server_of(box: Mailbox, **settings: str) -> MailServer:
    scheme = settings.pop("scheme", "smtp")
    return MailServer.of(Settings(mail_server=f"{scheme}://localhost:{box.address.rpartition(':')[2]}", **settings))  # type: ignore[arg-type]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def tls_of(authority: Authority, host: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue(host, host))
    return context


def test_who_reads_no_html_reads_the_same() -> None:
    assert week_lines(ROWS, ALERTS, "22 to 28 November", "en").splitlines() == [
        "The week in customer experience",
        "22 to 28 November",
        "",
        "رضایت (CSAT): ۷۱٫۲ ٪ (n ۱٬۲۰۰); worse: −۴٫۸ واحد (before ۷۶٫۰ ٪); کانال وب: −۹٫۱ واحد; cx",
        "NPS: 31; no clear change (+1); insight",
        "FCR: 60 % (n 12); nothing earlier to compare",
        "",
        "Alerts",
        "شنبه ۷ آذر، ۱۰:۳۰: پرداخت‌ها ناموفق‌اند; digital",
    ]
    forged = WeekAlert("digital", "a\n\nAlerts\nnone", "", "now")
    assert week_lines([], [forged], "", "en").splitlines()[-1] == "now: a Alerts none; digital"
    assert week_lines([], [], "", "fa").splitlines()[-1] not in {"", "هشدارها"}


def test_persian_arrives_as_it_was_written_with_the_file_to_keep() -> None:
    with Mailbox() as box:
        assert server_of(box).send(mail(b"%PDF-1.7")) == []
    [got] = box.mails
    assert (got["To"], got["Subject"]) == ("a@example.org", "هفته در تجربهٔ مشتری: هفته")
    text, page = (got.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert page is not None
    assert text.get_content() == week_lines(ROWS, ALERTS, "هفته", "fa")
    assert page.get_content().strip() == "<p>رضایت</p>"
    [file] = got.iter_attachments()
    assert (file.get_filename(), file.get_content()) == ("week-2026-11-28.pdf", b"%PDF-1.7")


@pytest.mark.slow
def test_the_password_goes_over_tls_alone(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("sesame\n")
    known = {"mail_user": "cx", "mail_password_file": str(tmp_path / "password")}
    with Mailbox(tls_of(authority), ("cx", "sesame")) as box:
        assert server_of(box, mail_ca_file=str(authority.file), **known).send(mail()) == []
        assert len(box.mails) == 1
        with pytest.raises(MailError, match=r"wrong certificate: .* authority"):
            server_of(box, **known).send(mail())
    with Mailbox() as box, pytest.raises(MailError, match="offers no STARTTLS"):
        server_of(box, **known).send(mail())
    with Mailbox(tls_of(authority, "other.test")) as box, pytest.raises(MailError, match="for another host name"):
        server_of(box, mail_ca_file=str(authority.file)).send(mail())


def test_a_refusal_is_told_without_the_password(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wrong")
    secured = {"mail_ca_file": str(authority.file)}
    with Mailbox(tls_of(authority), ("cx", "right")) as box:
        known = secured | {"mail_user": "cx", "mail_password_file": str(tmp_path / "password")}
        with pytest.raises(MailError, match="wrong mail_user or mail_password_file: 535") as told:
            server_of(box, **known).send(mail())
        assert "wrong" not in str(told.value).replace("wrong mail_user", "")
        with pytest.raises(MailError, match="refuses: 530 who are you"):
            server_of(box, **secured).send(mail())


def test_a_password_that_cannot_be_sent_is_refused_before_anything_is(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("گذرواژه")
    server = MailServer.of(
        Settings(mail_server="smtp://localhost:1", mail_user="cx", mail_password_file=str(tmp_path / "password"))
    )
    with pytest.raises(ConfigError, match=r"mail_password_file: .*ASCII") as told:
        server.send(mail())
    assert "گذرواژه" not in str(told.value)


def test_what_was_taken_is_sent_however_the_server_takes_its_leave() -> None:
    with Mailbox(rude=True) as box:
        assert server_of(box).send(mail()) == []
        assert len(box.mails) == 1


def test_whom_the_server_does_not_know_is_named_and_the_others_get_it() -> None:
    with Mailbox(refused=("b@example.org",)) as box:
        [told] = server_of(box).send(mail(to=("a@example.org", "b@example.org")))
        assert told == "b@example.org (550 nobody of that name)"
        assert len(box.mails) == 1
        with pytest.raises(MailError, match=r"refuses b@example.org \(550"):
            server_of(box).send(mail(to=("b@example.org",)))


def test_a_server_that_is_away_or_speaks_otherwise_is_named() -> None:
    with Mailbox() as box:
        away = server_of(box)
        with pytest.raises(MailError, match="does not speak TLS at this port"):
            server_of(box, scheme="smtps").send(mail())
    with pytest.raises(MailError, match="nothing listens there"):
        away.send(mail())


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("mail.example:25", "mail_server"),
        ("smtp://cx:secret@mail.example", "put them into mail_user and mail_password_file"),
        ("smtp://mail.example/inbox", "mail_server"),
    ],
)
def test_wrong_servers_are_refused_at_the_start(value: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        load(environ={"CX_MAIL_SERVER": value})
    assert "secret" not in str(error.value)


def test_ports_are_those_of_the_scheme_and_no_others_than_there_are() -> None:
    assert MailServer.of(Settings(mail_server="smtps://mail.example")).port == 465
    assert MailServer.of(Settings(mail_server="smtp://mail.example")).port == 587
    for wrong in (
        "smtp://mail.example:0x1",
        "smtp://:587",
        "smtp://mail.example:99999",
        "smtp://m:0",
        "smtp://[::1",
        "",
    ):
        with pytest.raises(ConfigError, match="mail_server"):
            MailServer.of(Settings(mail_server=wrong))


def test_addresses_are_addresses() -> None:
    assert addresses("mail_report_to", " a@x.org, b@x.org,a@x.org ,") == ["a@x.org", "b@x.org"]
    for wrong in ("", " , ", "a", "a@x.org\nBcc: b@x.org", "a <a@x.org>", "a@b.", "[x]@y", "a:b@c:d", "a\0@x.org"):
        with pytest.raises(ValueError, match="mail_report_to"):
            addresses("mail_report_to", wrong)
