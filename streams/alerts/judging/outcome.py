"""How an alert ended, for whoever was paged: the value now, how long it lasted, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from streams.alerts.facts import Facts, badness
from streams.alerts.judging.machine import Instance, Step
from streams.alerts.rules.rules import Rule
from streams.alerts.types import Evidence
from streams.kpis.aggregators import ADDITIVE, LASTING
from streams.kpis.arithmetic.accumulators import Acc
from streams.wording.moments import ZoneTimes, minutes_text
from streams.wording.numbers import digits, value_text
from streams.wording.texts import LANGS, Texts, series_text

_TROUBLED: Final = frozenset({"pending", "firing"})


def count_during(instance: Instance, step: Step | None, rule: Rule, acc: Acc | None) -> None:
    """Add a minute to what was counted since the trouble began; that of ratios can be shown as people."""
    if rule.kpi.aggregator != "ratio" or instance.state not in _TROUBLED:
        return
    before = [0, 0] if not instance.during or (step is not None and step.old not in _TROUBLED) else instance.during
    n, hits = acc if isinstance(acc, list) else (0, 0)
    instance.during = [before[0] + n, before[1] + hits]


def begun(episode: str) -> int:
    """Return the minute in which the trouble of an episode began; -1 of an episode without one."""
    last = episode.rpartition("-")[2]
    return int(last) if last.isdecimal() else -1


def tell_end(
    rule: Rule,
    labels: Mapping[str, str],
    instance: Instance,
    fired: Evidence,
    now: Evidence,
    minute: int,
    times: ZoneTimes,
    *,
    judged: bool = True,
) -> dict[str, str]:
    """
    Return `summary` and `description` of an alert that has ended, and both in Persian (`..._fa`).

    Args:
        rule: Its rule.
        labels: Of its series.
        instance: With what was counted while it lasted.
        fired: What was known when it fired.
        now: What is known as of the minute in which it ended.
        minute: That minute, unix seconds // 60.
        times: Writes moments.
        judged: Whether recovery was seen; if not, it ended because it could not be judged for too long.
    """
    since = begun(instance.episode)
    english = [
        _lasted(since, minute, times) if since >= 0 else "",
        _cost(rule, instance.during, fired),
    ]
    persian = [
        _lasted_fa(since, minute, times) if since >= 0 else "",
        _cost_fa(rule, instance.during, fired),
    ]
    return {
        "summary": _end(rule, labels, now) if judged else _lost(rule, labels, now),
        "description": " ".join(filter(None, english)),
        "summary_fa": _end_fa(rule, labels, now) if judged else _lost_fa(rule, labels, now),
        "description_fa": " ".join(filter(None, persian)),
    }


def tell_abandoned(rule: str, labels: Mapping[str, str], episode: str, times: ZoneTimes) -> dict[str, str]:
    """Return the same texts of an alert that ended since its rule was taken away or watches others."""
    since = begun(episode)
    english, persian = (times.moment((since + 1) * 60, lang) if since >= 0 else "" for lang in LANGS)
    return {
        "summary": f"Ended: {rule}, {series_text(labels, 'en')}: no rule of this name judges it any more",
        "description": (f"In trouble since {english}; w" if english else "W") + "hether that is over is not known.",
        "summary_fa": f"پایان یافت: {rule}، {series_text(labels, 'fa')}: دیگر قاعده‌ای به این نام آن را نمی‌سنجد",
        "description_fa": (f"مشکل از {persian} آغاز شد؛ " if persian else "") + "معلوم نیست که پایان یافته باشد.",
    }


def _end(rule: Rule, labels: Mapping[str, str], now: Evidence) -> str:
    of = f" of {now.n:,}" if rule.kpi.aggregator == "ratio" else "" if _counts(rule) else f" (n = {now.n:,})"
    value = "no data" if now.value is None else f"{value_text(now.value, rule.kpi.unit, 'en')}{of} now"
    against = f", {_aim(rule)[0]} {value_text(rule.target, rule.kpi.unit, 'en')}" if rule.target is not None else ""
    return f"Resolved: {rule.kpi.name}, {series_text(labels, 'en')}: {value}{against}"


def _end_fa(rule: Rule, labels: Mapping[str, str], now: Evidence) -> str:
    of = "" if _counts(rule) else f" از {digits(f'{now.n:,}', 'fa')} مورد"
    value = "بدون داده" if now.value is None else f"اکنون {value_text(now.value, rule.kpi.unit, 'fa')}{of}"
    against = f"، {_aim(rule)[1]} {value_text(rule.target, rule.kpi.unit, 'fa')}" if rule.target is not None else ""
    name = Texts("fa").kpi(rule.kpi.name, rule.kpi.name_fa)
    return f"برطرف شد: {name}، {series_text(labels, 'fa')}: {value}{against}"


def _lost(rule: Rule, labels: Mapping[str, str], now: Evidence) -> str:
    why = f"{now.n:,} are too few to judge" if now.n else "nothing comes any more"
    return f"Ended unjudged: {rule.kpi.name}, {series_text(labels, 'en')}: {why}; whether it is over is not known"


def _lost_fa(rule: Rule, labels: Mapping[str, str], now: Evidence) -> str:
    why = f"{digits(f'{now.n:,}', 'fa')} مورد برای داوری کم است" if now.n else "دیگر چیزی نمی‌رسد"
    name = Texts("fa").kpi(rule.kpi.name, rule.kpi.name_fa)
    return f"بی‌داوری پایان یافت: {name}، {series_text(labels, 'fa')}: {why}؛ معلوم نیست که برطرف شده باشد"


def _lasted(since: int, minute: int, times: ZoneTimes) -> str:
    span = times.span((since + 1) * 60, (minute + 1) * 60, "en")
    return f"Lasted {minutes_text(minute - since, 'en')}, {span}."


def _lasted_fa(since: int, minute: int, times: ZoneTimes) -> str:
    span = times.span((since + 1) * 60, (minute + 1) * 60, "fa")
    return f"{minutes_text(minute - since, 'fa')} طول کشید، {span}."


def _counts(rule: Rule) -> bool:
    """Return whether a value is itself a number of things."""
    return rule.kpi.aggregator in ADDITIVE or rule.kpi.aggregator in LASTING


def _aim(rule: Rule) -> tuple[str, str]:
    """
    Return what a rule holds a value against, in English and in Persian.

    The target is what the KPI's owner aims at, on the page as in Grafana; what a rule lets pass beyond it is a limit.
    """
    aim = rule.kpi.target
    looser = aim is not None and rule.target is not None and badness(Facts.of(rule.kpi), rule.target - aim) > 0
    return ("limit", "حد هشدار") if looser else ("target", "هدف")


class _Loss(NamedTuple):
    """What happened while it lasted; `missing`: more bad or fewer good ones than expected, 0 if none."""

    n: int
    hits: int
    share: float
    expected: float
    missing: int


def _loss(rule: Rule, during: list[int], fired: Evidence) -> _Loss | None:
    """Count what was lost against the target, or else against what was usual; None where that cannot be counted."""
    expected = rule.target if rule.target is not None else fired.baseline
    if not during or not during[0] or expected is None:
        return None
    n, hits = during
    factor = Facts.of(rule.kpi).factor
    missing = round(n * expected / factor - hits)
    side = 1 if rule.kpi.direction == "up" else -1
    return _Loss(n, hits, factor * hits / n, expected, abs(missing) if missing * side > 0 else 0)


def _cost(rule: Rule, during: list[int], fired: Evidence) -> str:
    loss = _loss(rule, during, fired)
    if loss is None:
        return ""
    share, expected = (value_text(one, rule.kpi.unit, "en") for one in (loss.share, loss.expected))
    side = "fewer" if rule.kpi.direction == "up" else "more"
    what = f"the {_aim(rule)[0]} of" if rule.target is not None else "the usual"
    cost = f", {loss.missing:,} {side} than at {what} {expected}" if loss.missing else ""
    return f"Meanwhile {loss.hits:,} of {loss.n:,} ({share}){cost}."


def _cost_fa(rule: Rule, during: list[int], fired: Evidence) -> str:
    loss = _loss(rule, during, fired)
    if loss is None:
        return ""
    share, expected = (value_text(one, rule.kpi.unit, "fa") for one in (loss.share, loss.expected))
    n, hits, missing = (digits(f"{one:,}", "fa") for one in (loss.n, loss.hits, loss.missing))
    side = "کمتر" if rule.kpi.direction == "up" else "بیشتر"
    what = _aim(rule)[1] if rule.target is not None else "حد معمول"
    cost = f"، {missing} مورد {side} از {what} {expected}" if loss.missing else ""
    return f"در این مدت {hits} از {n} ({share}){cost}."
