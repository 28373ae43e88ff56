"""What scrolls by: alerts with their explanation, and what customers wrote."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from streams.alerts.judging.outcome import begun
from streams.board.formats import direction_of, plain_labels, pseudonym
from streams.board.readings import ALL, KpiInfo
from streams.events.touchpoints import Touchpoint
from streams.wording.masking import masked
from streams.wording.numbers import digits, interval_text, number, one_text
from streams.wording.texts import Lang, Texts, window_text

VERBATIMS_SHOWN: Final = 14
ALERTS_SHOWN: Final = 12
EXPLAINED_BY: Final = 3
_URGENCY: Final = {"page": 0, "ticket": 1, "info": 2}
_ORDER: Final = {"firing": 0, "pending": 1, "resolved": 2, "inactive": 3}


@dataclass(frozen=True, slots=True)
class Verbatim:
    """What a customer wrote."""

    at: float
    """Unix s."""
    id: str
    channel: str
    touchpoint: str
    subject: str
    text: str
    score: int | None = None
    scale: int | None = None


@dataclass(frozen=True, slots=True)
class VerbatimView:
    """A verbatim as shown."""

    id: str
    at: float
    who: str
    where: str
    rating: str
    text: str
    dir: str
    lang: str


def verbatim_views(
    verbatims: Iterable[Verbatim], channel: str, touchpoints: Mapping[str, Touchpoint], lang: Lang
) -> list[VerbatimView]:
    """Return the newest verbatims of a channel, newest first, without anything that names a customer."""
    texts, views = Texts(lang), []
    for verbatim in sorted(verbatims, key=lambda one: one.at, reverse=True):
        if channel not in {ALL, verbatim.channel}:
            continue
        entry = touchpoints.get(verbatim.touchpoint)
        place = verbatim.touchpoint.replace("_", " ") if entry is None else entry.fa if lang == "fa" else entry.en
        rating = ""
        if verbatim.score is not None:
            rating = f"{texts['rated']} {number(verbatim.score, lang)}"
            if verbatim.scale:
                rating += f" {texts['of']} {number(verbatim.scale, lang)}"
        text = masked(verbatim.text)
        direction = direction_of(text)
        views.append(
            VerbatimView(
                verbatim.id,
                verbatim.at,
                pseudonym(verbatim.subject),
                " · ".join(filter(None, [texts.get(verbatim.channel, verbatim.channel), place])),
                rating,
                text,
                direction,
                "fa" if direction == "rtl" else "en",
            )
        )
        if len(views) == VERBATIMS_SHOWN:
            break
    return views


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRow:
    """The newest transition of an episode as the store has it, with the moment the episode began to fire."""

    episode: str
    rule: str
    kpi: str
    labels: Mapping[str, str]
    state: str
    severity: str
    owner: str
    why: str
    at: int
    """When it came into its state, unix s of event time."""
    inhibited_by: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    """What it says, by name; Persian ones end in `_fa`."""
    links: Mapping[str, str] = field(default_factory=dict)
    value: float | None = None
    n: int = 0
    lo: float | None = None
    hi: float | None = None
    unit: str = ""
    window: str = ""
    baseline: float | None = None
    contributors: Sequence[tuple[Mapping[str, str], float]] = field(default_factory=tuple)
    """Label sets with the part of the change that each explains (1: all of it)."""


@dataclass(frozen=True, slots=True)
class AlertView:
    """An alert as shown."""

    id: str
    kpi: str
    state: str
    state_text: str
    severity: str
    severity_text: str
    title: str
    where: str
    numbers: str
    why: str
    check: str
    """What to look at first, while it fires."""
    suspects: str
    """What was released or begun just before."""
    runbook: str
    """Address, empty if it has none here."""
    window: str
    channel: str
    because: tuple[str, ...]
    held_back: str
    owner: str
    at: int
    spoken: str


def alert_views(alerts: Iterable[AlertRow], infos: Mapping[str, KpiInfo], channel: str, lang: Lang) -> list[AlertView]:
    """Return the alerts that concern a channel: those that fire first, then the newest."""
    texts, views = Texts(lang), []
    wanted = [alert for alert in alerts if channel == ALL or alert.labels.get("channel", channel) == channel]
    # What keeps nobody up comes after what does.
    wanted.sort(key=lambda one: (_ORDER.get(one.state, 9), bool(one.inhibited_by), -one.at))
    for alert in wanted[:ALERTS_SHOWN]:
        info = infos.get(alert.kpi)
        unit = alert.unit or (info.unit if info else "")
        where = _labels(alert.labels, texts)
        name = texts.kpi(info.name, info.name_fa) if info else alert.kpi
        state = texts.get(alert.state, alert.state)
        views.append(
            AlertView(
                alert.episode,
                alert.kpi,
                alert.state,
                state,
                alert.severity,
                texts.get(alert.severity, alert.severity),
                alert.rule,
                f"{name} · {where}",
                _numbers(alert, unit, lang),
                _text(alert, "summary", lang) or alert.why,
                _text(alert, "check", lang) if alert.state in {"firing", "pending"} else "",
                _text(alert, "suspects", lang),
                _runbook(alert.links.get("runbook", "")),
                alert.window,
                alert.labels.get("channel", ALL),
                tuple(
                    f"{_labels(labels, texts)}: {digits(f'{100 * part:.0f}%', lang)}"
                    for labels, part in alert.contributors[:EXPLAINED_BY]
                ),
                f"{texts['held_back']} {alert.inhibited_by}" if alert.inhibited_by else "",
                alert.owner,
                alert.at,
                f"{state}: {alert.rule}, {name}, {where}",
            )
        )
    return views


def _text(alert: AlertRow, name: str, lang: Lang) -> str:
    """Return what an alert says in a language, or in that in which it says it."""
    english = alert.texts.get(name, "")
    return alert.texts.get(f"{name}_fa", english) if lang == "fa" else english


def _runbook(link: str) -> str:
    """Return where a runbook is read; our own is a page here."""
    path, _, section = link.partition("#")
    if path.endswith("/runbook") or path == "docs/RUNBOOK.md":
        return f"/runbook#{section}"
    return link if link.startswith(("https://", "http://")) else ""


def alert_periods(alerts: Iterable[AlertRow], kpi: str, channel: str) -> list[tuple[float, float]]:
    """Return from when to when alerts fired on a KPI, of a channel or of all, unix s; one that fires has no end."""
    found = []
    for alert in alerts:
        if alert.kpi != kpi or alert.inhibited_by or alert.labels.get("channel", channel) != channel:
            continue
        began = 60 * (begun(alert.episode) + 1)
        if began and alert.state in {"firing", "resolved"}:
            found.append((float(began), inf if alert.state == "firing" else float(alert.at)))
    return found


def _labels(labels: Mapping[str, str], texts: Texts) -> str:
    """Return label values; those of the house are translated, those that teams chose stay as they are."""
    shown = {name: texts.get(value, value) if name in {"channel", "stage"} else value for name, value in labels.items()}
    return plain_labels(shown) or texts["all"]


def _numbers(alert: AlertRow, unit: str, lang: Lang) -> str:
    if alert.value is None:
        return Texts(lang)["no_data"]
    texts = Texts(lang)
    parts = [one_text(alert.value, unit, lang)]
    if ends := interval_text(alert.lo, alert.hi, unit, lang):
        parts.append(f"[{ends}]")
    parts.append(f"{texts['n']} {number(alert.n, lang, 0)}")
    if alert.baseline is not None:
        parts.append(f"{texts['baseline']} {one_text(alert.baseline, unit, lang)}")
    if alert.window:
        parts.append(window_text(alert.window, lang) if alert.window[-1:] in {"m", "h", "d"} else alert.window)
    return " · ".join(parts)


def announcement(views: Sequence[AlertView], lang: Lang) -> str:
    """Return what a screen reader says when it changes: the alerts that fired in the newest minute, or nothing."""
    firing = [view for view in views if view.state == "firing" and not view.held_back]
    if not firing:
        return ""
    newest = max(view.at for view in firing)
    shown = sorted(f"{view.title}. {view.where}. {view.numbers}" for view in firing if view.at == newest)
    return f"{Texts(lang)['new_alert']}: {'; '.join(shown)}"


@dataclass(frozen=True, slots=True)
class FiringView:
    """What fires, as everybody who looks at the page must see it."""

    shown_count: str
    worst: AlertView
    severities: Mapping[str, str]
    """By KPI that an alert fires on: what that is worth, in words."""
    title: str
    """For the window: how many, and the worst."""


def firing_view(
    alerts: Iterable[AlertRow], infos: Mapping[str, KpiInfo], channel: str, lang: Lang
) -> FiringView | None:
    """Return the alerts of a channel that fire and that nothing holds back, the most urgent first; None: none does."""
    rows = [alert for alert in alerts if alert.state == "firing" and not alert.inhibited_by]
    views = [view for row in rows for view in alert_views([row], infos, channel, lang)]
    if not views:
        return None
    views.sort(key=lambda view: (_URGENCY.get(view.severity, 9), -view.at))
    severities = {view.kpi: view.severity_text for view in reversed(views)}
    count = number(len(views), lang, 0)
    return FiringView(count, views[0], severities, f"({count}) {views[0].where}")
