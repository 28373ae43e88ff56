"""An alert as Alertmanager takes it, with all that a person needs to read, in English and in Persian."""

from collections.abc import Mapping, Sequence
from typing import Final

from streams.alerts.judging.judge import Active, Unjudged
from streams.alerts.judging.outcome import begun
from streams.alerts.types import Contribution, Evidence, Movement, Transition
from streams.delivery.notice import Notice
from streams.wording.moments import ZoneTimes
from streams.wording.numbers import value_text
from streams.wording.texts import LANGS, Lang, Texts, series_text

_EXPLAINED: Final = 3
_SUFFIX: Final[Mapping[Lang, str]] = {"en": "", "fa": "_fa"}
_JOINT: Final[Mapping[Lang, str]] = {"en": "; ", "fa": "؛ "}


def notice_of(active: Active, times: ZoneTimes) -> Notice:
    """
    Return an alert as Alertmanager takes it; of one that has ended, how it ended.

    Annotations are in English, those whose name ends in `_fa` in Persian.
    """
    transition = active.transition
    evidence = transition.evidence
    starts_at = (transition.minute + 1) * 60
    annotations = dict(transition.annotations)
    if active.ended is None:
        annotations |= _explanation(transition, times)
        annotations |= _unjudged(active.unjudged, times)
        annotations["verbatims"] = "\n".join(f"«{text}»" for text in evidence.verbatims)
    annotations |= _links(evidence)
    return Notice(
        labels={
            **transition.labels,
            **transition.alert_labels,
            "alertname": transition.rule,
            "kpi": transition.kpi,
            "severity": transition.severity,
            "owner": transition.owner,
            "scope": "part" if transition.labels else "whole",
        },
        annotations={name: text for name, text in annotations.items() if text},
        starts_at=starts_at,
        ends_at=None if active.ended is None else max(starts_at, (active.ended + 1) * 60),
        url=evidence.links.get("dashboard") or evidence.links.get("page", ""),
    )


def _links(evidence: Evidence) -> dict[str, str]:
    """Return the links by their annotation; a runbook that is no address of its own stays a path to read."""
    links = dict(evidence.links)
    runbook = links.get("runbook", "")
    if runbook.startswith(("https://", "http://")):
        links["runbook_url"] = links.pop("runbook")
    return links


def _explanation(transition: Transition, times: ZoneTimes) -> dict[str, str]:
    """Return since when it lasts, where it comes from, and what else moved."""
    evidence, since = transition.evidence, begun(transition.episode)
    found: dict[str, str] = {}
    for lang in LANGS:
        parts = [_cause(part, lang) for part in _named(evidence.contributors)]
        found |= {
            f"since{_SUFFIX[lang]}": times.moment((since + 1) * 60, lang) if since >= 0 else "",
            f"explained_by{_SUFFIX[lang]}": _JOINT[lang].join(parts),
            f"also_moved{_SUFFIX[lang]}": _JOINT[lang].join(
                _movement(moved, transition, lang) for moved in evidence.movements
            ),
        }
    return found


def _unjudged(unjudged: Unjudged | None, times: ZoneTimes) -> dict[str, str]:
    """Return since when it cannot be judged, and what becomes of it."""
    if unjudged is None:
        return {}
    since, ends = unjudged.since, unjudged.ends
    found: dict[str, str] = {}
    for lang in LANGS:
        words = _UNJUDGED[lang]
        text = words[unjudged.empty].format(since=times.moment((since + 1) * 60, lang))
        if ends is not None:
            text += words[2].format(ends=times.moment((ends + 1) * 60, lang))
        found[f"unjudged{_SUFFIX[lang]}"] = text
    return found


_UNJUDGED: Final[Mapping[Lang, tuple[str, str, str]]] = {
    "en": (
        "since {since} too few answers to judge it: it fires on until recovery is shown",
        "since {since} nothing comes to judge it by: it fires on until recovery is shown",
        ", at most until {ends}",
    ),
    "fa": (
        "از {since} موارد برای داوری کم است؛ تا برطرف‌شدن آن دیده شود برقرار می‌ماند",
        "از {since} چیزی برای داوری نمی‌رسد؛ تا برطرف‌شدن آن دیده شود برقرار می‌ماند",
        "، حداکثر تا {ends}",
    ),
}
"""Too few, nothing at all, and until when."""

_WORDS: Final[Mapping[str, Mapping[Lang, str]]] = {
    "alike": {"en": "everywhere alike", "fa": "همه‌جا یکسان"},
    "from": {"en": "{name}{series} from {before} to {now}", "fa": "{name}{series} از {before} به {now}"},
    "at": {"en": "{name}{series} at {now}", "fa": "{name}{series} اکنون {now}"},
}


def _named(parts: Sequence[Contribution]) -> Sequence[Contribution]:
    """Return what is worth saying: where all is alike, that alone; a cause that another KPI knows alone, too."""
    return parts[:1] if parts and (parts[0].kpi or not parts[0].labels) else parts[:_EXPLAINED]


def _cause(part: Contribution, lang: Lang) -> str:
    if not part.labels:
        return _WORDS["alike"][lang]
    share = value_text(100 * part.explained, "percent", lang, places=0)
    return f"{series_text(part.labels, lang)} ({share})"


def _movement(moved: Movement, transition: Transition, lang: Lang) -> str:
    series = f" ({series_text(moved.labels, lang)})" if moved.labels != transition.labels else ""
    before, now = (value_text(value, moved.unit, lang) for value in (moved.baseline, moved.value))
    name = Texts(lang).kpi(moved.name or moved.kpi, moved.name_fa)
    # Without a reference that was all there nothing is said of the time before.
    said = _WORDS["at" if moved.baseline is None else "from"][lang]
    return said.format(name=name, series=series, before=before, now=now)
