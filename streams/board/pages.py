"""From what is known to HTML: the whole page once, then only the fragments that have changed."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from streams.board.advice import action_views
from streams.board.charts import Backdrop, chart
from streams.board.feed import alert_periods, alert_views, announcement, firing_view, verbatim_views
from streams.board.formats import iso, utc_text
from streams.board.health import health_view
from streams.board.heat import heat_kpis, heat_map
from streams.board.poller import Detail, Known, Numbers
from streams.board.readings import ALL, KpiInfo, Latest
from streams.board.runbook import runbook
from streams.board.scripted import scripted_views
from streams.board.tiles import GROUPS, HEADLINE, TileFacts, covered_text, state_of, tile, trend_step, up_to_window
from streams.events.scalars import CHANNELS
from streams.events.touchpoints import Touchpoint, load_touchpoints
from streams.events.visible import visible
from streams.kpis.language.lengths import TOTAL
from streams.kpis.language.steps import Steps
from streams.wording.numbers import interval_text, number, one_text
from streams.wording.texts import Lang, Texts, window_text

DEFAULT_WINDOW: Final = "15m"
STILL_S: Final = 240
"""A newest closed minute older than this is reported as standing still: one closes every minute, soon after its end."""
_LABELS_SHOWN: Final = 12
_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class PageView:
    """What a reader has chosen; everything else is the same for all."""

    lang: Lang = "en"
    window: str = DEFAULT_WINDOW
    channel: str = ALL
    heat: str = ""
    kpi: str = ""
    wall: str = ""
    """`1`: nothing but what is read from afar, as large as the screen."""

    @classmethod
    def of(cls, query: Mapping[str, str], windows: Sequence[str], known: Mapping[str, KpiInfo]) -> "PageView":
        """
        Read a choice from the address; what does not exist falls back to the default, as after an update.

        While nothing is known of the store yet, what is asked for is believed.
        """
        window = query.get("window", "")
        if not re.fullmatch(f"[1-9][0-9]{{0,3}}[mhd]|{TOTAL}", window):
            window = DEFAULT_WINDOW
        if windows and window not in windows:
            window = DEFAULT_WINDOW if DEFAULT_WINDOW in windows else windows[0]
        heat, kpi = (name if not known or name in known else "" for name in (_word(query, "heat"), _word(query, "kpi")))
        channel = query.get("channel", ALL)
        lang: Lang = "fa" if query.get("lang") == "fa" else "en"
        return cls(
            lang, window, channel if channel in CHANNELS else ALL, heat, kpi, "1" if query.get("wall") == "1" else ""
        )

    def link(self, **changes: str) -> str:
        """Return the address of this view with something changed; defaults are left out."""
        other, default = replace(self, **changes), PageView()  # type: ignore[arg-type]
        chosen = {
            name: getattr(other, name)
            for name in ("lang", "window", "channel", "heat", "kpi", "wall")
            if getattr(other, name) != getattr(default, name)
        }
        return "/?" + urlencode(chosen) if chosen else "/"

    def stream(self) -> str:
        """Return the address of this view's events."""
        return "/stream" + self.link()[1:]


def _word(query: Mapping[str, str], name: str) -> str:
    """Return a part of the address that can name something; anything else is as good as nothing."""
    given = query.get(name, "")
    return given if re.fullmatch("[a-z0-9_]{1,64}", given) else ""


def templates(days: Steps) -> Environment:
    """Return the templates of all pages, in which whatever strangers wrote is shown as text."""

    def time(at: float, form: str = "time") -> Markup:
        """
        Return a moment, which the browser shows in the reader's zone and calendar, a date in the zone of the days.

        `form`: time, moment, ago, due, open or date.
        """
        return _moment(at, form, days.day(int(at)) if form == "date" else utc_text(at))

    found = Environment(
        loader=PackageLoader("streams.board"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals.update(time=time, age=_age, zone=days.zone)
    return found


class PageRenderer:
    """Renders views; holds no state but the templates. `days`: whose zone and calendar days are shown by."""

    def __init__(self, days: Steps = Steps("day", 1)) -> None:  # noqa: B008 - never changed
        self._days = days
        self._templates = templates(days)
        self._touchpoints: Mapping[str, Touchpoint] = load_touchpoints()

    def whole(self, view: PageView, known: Known, now: float) -> str:
        """Return the page."""
        return self._render("page.html", view, fragments=self.fragments(view, known, now), known=known)

    def runbook(self) -> str:
        """Return the page of the runbook."""
        return self._templates.get_template("runbook.html").render(document=runbook())

    def fragments(self, view: PageView, known: Known, now: float) -> dict[str, Markup]:
        """Return the parts of the page that change, by the id of the element that holds them; `now` is unix s."""
        numbers = known.numbers.get(view.window, Numbers())
        alerts = alert_views(known.alerts or (), known.infos, view.channel, view.lang)
        firing = firing_view(known.alerts or (), known.infos, view.channel, view.lang)
        parts = {
            "firing": self._render("firing.html", view, firing=firing),
            "status": self._render(
                "status.html", view, troubles=known.troubles, **self._status(view, known, numbers, now)
            ),
            "controls": self._render("controls.html", view, windows=known.windows or [view.window]),
            "heat": self._heat(view, known, numbers),
            "alerts": self._render(
                "alerts.html", view, alerts=alerts, kept=known.alerts is not None, windows=known.windows
            ),
            "announce": html.escape(announcement(alerts, view.lang)),
            "verbatims": self._render(
                "verbatims.html",
                view,
                verbatims=verbatim_views(known.verbatims, view.channel, self._touchpoints, view.lang),
            ),
            "advice": self._render("advice.html", view, actions=action_views(known.actions, view.lang)),
            "paths": self._render(
                "paths.html", view, paths=scripted_views(known.scripted, known.alerts or (), view.lang)
            ),
            "pipeline": self._render(
                "pipeline.html", view, health=health_view(known.health, view.lang), troubles=known.troubles
            ),
            "detail": self._detail(view, known),
        }
        facts = TileFacts(
            numbers.values, numbers.baselines, numbers.trends, view.window, numbers.closed_until, numbers.steps
        )
        for kpi in HEADLINE:
            info = known.infos.get(kpi, KpiInfo(id=kpi, name=kpi, groupings=(("channel",),)))
            shown = tile(info, view.channel, facts, view.lang)
            parts[f"tile-{kpi}"] = self._render(
                "tile.html", view, tile=shown, alert=firing.severities.get(kpi) if firing else None
            )
        return {name: Markup(text) for name, text in parts.items()}  # noqa: S704 - made by our own templates

    def _render(self, template: str, view: PageView, **values: Any) -> str:
        return self._templates.get_template(template).render(
            view=view,
            t=Texts(view.lang),
            window_text=window_text,
            groups=GROUPS,
            channels=(ALL, *CHANNELS),
            **values,
        )

    def _status(self, view: PageView, known: Known, numbers: Numbers, now: float) -> dict[str, Any]:
        """Tell in one word how the numbers are: `live`, `still`, `empty`, `away`, `refused` or `loading`."""
        closed = numbers.closed_until
        if known.away_since is not None:
            state = "away"
        elif known.refusal:
            state = "refused"
        elif view.window not in known.numbers:
            state = "loading"
        elif not closed:
            state = "empty"
        else:
            state = "still" if now - closed > STILL_S else "live"
        return {"state": state, "closed": closed, "since": known.away_since or 0.0, "refusal": known.refusal}

    def _heat(self, view: PageView, known: Known, numbers: Numbers) -> str:
        offered = heat_kpis(known.infos.values())
        ids = [info.id for info in offered]
        chosen = view.heat if view.heat in ids else ids[0] if ids else ""
        found = (
            heat_map(known.infos[chosen], numbers.values, self._touchpoints, view.lang, view.channel)
            if chosen
            else None
        )
        texts = Texts(view.lang)
        names = [(info.id, texts.kpi(info.name, info.name_fa)) for info in offered]
        return self._render("heat.html", view, heat=found, offered=names, chosen=chosen)

    def _detail(self, view: PageView, known: Known) -> str:
        if not view.kpi:
            return ""
        texts, info = Texts(view.lang), known.infos.get(view.kpi, KpiInfo(id=view.kpi, name=view.kpi))
        detail = known.details.get((view.kpi, view.window))
        facts = TileFacts(
            known.numbers.get(view.window, Numbers()).values,
            known.numbers.get(view.window, Numbers()).baselines,
            {},
            view.window,
            known.numbers.get(view.window, Numbers()).closed_until,
        )
        key = (info.id, view.channel, "")
        step = detail.step if detail else trend_step(view.window)
        known_points = detail.trends.get(key, ()) if detail else ()
        points = up_to_window(known_points, step, view.window, facts.latest.get(key, Latest()))
        if by_day := step >= _DAY_S:
            # A day is named by its beginning, a quarter of an hour by its end, as of when it is known.
            points = [replace(point, at=point.since) for point in points]
        name = texts.kpi(info.name, info.name_fa)
        changes = [one for one in (detail.changes if detail else ()) if view.channel in {ALL, one.channel}]
        behind = Backdrop(
            info.target,
            alert_periods(known.alerts or (), info.id, view.channel),
            changes,
            detail.earlier.get(key, ()) if detail else (),
        )
        span = covered_text(points, step, view.window, view.lang)
        label = html.escape(f"{name}: {texts['course_of']} {span}")
        return self._render(
            "detail.html",
            view,
            info=info,
            tile=tile(info, view.channel, facts, view.lang) if info.id in HEADLINE else None,
            name=name,
            loading=detail is None,
            chart=Markup(  # noqa: S704 - made by our own code
                "".join(
                    chart(
                        points, step, info.unit, view.lang, label, self._days if by_day else None, behind, narrow=narrow
                    )
                    for narrow in (False, True)
                )
            ),
            week_before=bool(behind.earlier),
            changes=[(one.at, texts.get(one.channel, one.channel), visible(one.name)) for one in changes],
            form="date" if by_day else "moment",
            points=[
                (
                    point.at,
                    one_text(point.value, info.unit, view.lang),
                    interval_text(point.lo, point.hi, info.unit, view.lang),
                    number(point.n, view.lang, 0),
                )
                for point in reversed(points)
                if point.value is not None
            ],
            span=span,
            unit=texts.get(f"unit_{info.unit}", info.unit),
            least=" / ".join(number(n, view.lang, 0) for n in (info.min_n_show, info.min_n_colour)),
            maturity=texts.get(f"maturity_{info.maturity}", info.maturity),
            groupings=self._groupings(info, detail, view.lang) if detail else [],
        )

    def _groupings(self, info: KpiInfo, detail: Detail, lang: Lang) -> list[dict[str, Any]]:
        """Return the values by label: per grouping its first rows, most answers first."""
        texts = Texts(lang)
        order = [",".join(labels) for labels in info.groupings]
        found: dict[str, list[dict[str, str]]] = {}
        for by, labels, reading in detail.labels:
            state = state_of(info, reading)
            if state == "none" or reading.value is None:
                continue
            found.setdefault(by, []).append(
                {
                    "name": " · ".join(self._label(name, value, lang) for name, value in sorted(labels.items())),
                    "value": one_text(reading.value, info.unit, lang),
                    "interval": interval_text(reading.lo, reading.hi, info.unit, lang),
                    "n": number(reading.n, lang, 0),
                    "state": state,
                }
            )
        return [
            {
                "by": " × ".join(texts.get(f"label_{name}", name) for name in by.split(",")),
                "rows": rows[:_LABELS_SHOWN],
                "more": number(len(rows) - _LABELS_SHOWN, lang) if len(rows) > _LABELS_SHOWN else "",
            }
            for by, rows in sorted(found.items(), key=lambda item: order.index(item[0]) if item[0] in order else 99)
        ]

    def _label(self, name: str, value: str, lang: Lang) -> str:
        if name == "touchpoint" and value in self._touchpoints:
            entry = self._touchpoints[value]
            return entry.fa if lang == "fa" else entry.en
        return Texts(lang).get(value, value) if name in {"channel", "stage"} else value


def _shown(value: Any) -> Any:
    """Escape what is invisible or turns the direction of the text around it: labels and words are made by strangers."""
    if not isinstance(value, str):
        return value
    return Markup(visible(value)) if isinstance(value, Markup) else visible(value)  # noqa: S704 - as safe as before


def _moment(at: float, form: str, text: str) -> Markup:
    return Markup('<time datetime="{}" data-form="{}">{}</time>').format(iso(at), form, text)


def _age(at: float) -> Markup:
    """Return a moment as the time since, which the browser counts on."""
    return _moment(at, "ago", utc_text(at))
