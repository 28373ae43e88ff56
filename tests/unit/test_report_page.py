"""The page of the digest of a week: what others wrote is text in it."""

from __future__ import annotations

from dataclasses import fields

from streams.board.report import WeekAlert, WeekRow, render_week
from streams.wording.moments import ZoneTimes

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def test_no_text_of_others_is_markup() -> None:
    row = WeekRow(EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, "worse", (EVIL, EVIL))
    alert = WeekAlert(**{one.name: EVIL for one in fields(WeekAlert)})
    for lang in ("en", "fa"):
        page = render_week([row], [alert], 0, 7 * 86_400, lang, ZoneTimes())  # type: ignore[arg-type]
        assert page.count("&lt;script&gt;") == 12
        assert "<script" not in page
        assert "<img" not in page
