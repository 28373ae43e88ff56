"""The catalogue as a page for its readers: every number with its definition."""

from collections.abc import Iterable, Iterator

from streams.kpis.aggregators import AGGREGATORS, Aggregator
from streams.kpis.catalogue.counting import counted
from streams.kpis.language.definition import Kpi, Selector
from streams.kpis.language.derivation import Derivation
from streams.kpis.language.expressions import TRUE
from streams.kpis.language.void import SEVERAL, reason_of

_CLASSES = {
    "A": "one event decides",
    "B": "a duration",
    "C": "known after a wait",
    "D": "known of a cohort",
}
_DIRECTIONS = {"up": "more is better", "down": "less is better", "none": "neither more nor less is better"}


_RATES = """\
- id: revenue_in_rial
  name: Revenue in rial
  question: What are the orders worth, at our rates?
  unit: currency
  direction: up
  class: A
  aggregator: sum
  scale: 1
  formula: Amounts of orders, dollars at 420,000 rial, from 21 March 2026 on at 450,000.
  source: Own
  owner: sales
  groupings: [[], [channel]]
  params: {dollar: 420000, dollar_of_1405: 450000}
  of:
    events: cx.order.placed
    where: currency in ['IRR', 'USD']
    value: >
      amount * (1 if currency == 'IRR' else
      dollar_of_1405 if since(time, '2026-03-21', 'Asia/Tehran') else dollar)
"""


def page(kpis: Iterable[Kpi]) -> str:
    """Write `docs/KPIS.md`."""
    listed = list(kpis)
    lines = [
        "# KPIs",
        "",
        "Written by `cx kpis docs` from the definitions in `streams/kpis/definitions/`.",
        "",
        "Each KPI is kept for the whole and for each of its groupings, minute by minute. Its value never comes without",
        "the number of answers behind it. The definition id changes with whatever changes the numbers.",
        "",
        "A KPI of your own is one more block in a file of your own; point the setting `kpis_path` at it:",
        "",
        "```yaml",
        "- id: search_failure",
        "  name: Searches without result",
        "  name_fa: جست‌وجوهای بی‌نتیجه   # optional: what people see who read Persian",
        "  question: Which share of searches finds nothing?",
        "  unit: percent            # what a ratio can be in: percent, fraction or per_100",
        "  direction: down          # up, down or none",
        "  class: A                 # A counter, B duration, C matured, D cohort",
        "  aggregator: ratio        # one of the table below, or derived",
        "  formula: Searches with no result of all searches whose results were counted.",
        "  source: Own",
        "  owner: digital",
        "  groupings: [[], [channel], [channel, touchpoint]]",
        "  params: {enough: 1}",
        "  of: {events: cx.search.performed, where: results is not None}",
        "  hits: {where: results < enough}",
        "```",
        "",
        "| aggregator | gives | n and its other sums |",
        "|---|---|---|",
        *(f"| `{kind.name}` | {kind.words} | {_kept(kind)} |" for kind in AGGREGATORS.values()),
        "",
        "Conditions and values read like Python, over the fields of the event: comparisons, `in [...]`, `is None`,",
        "`and`, `or`, `not`, `+ - * /`, `a if condition else b`, `coalesce(value, instead)`, `top_box(scale)`.",
        "Of texts there are `contains(text, 'late')`, `starts_with(text, ['a', 'b'])` and `ends_with(text, 'c')`;",
        "of several any will do. Of the time of an event: `hour_of_day(time, 'Asia/Tehran')`, 0 to 23,",
        "`minute_of_day(…)`, 0 to 1439, and `day_of_week(…)`,",
        "`'monday'` to `'sunday'`, as the clocks of the zone show it; and `since(time, '2026-03-21', 'Asia/Tehran')`,",
        "from the beginning of that day on.",
        "A comparison with a missing field is false.",
        "",
        "A ratio in percent or as a fraction is a share, and stays within 0 and 100 %: its `hits` have no `events`,",
        "and are counted among `of`. Where an outcome is an event, `of` lists all outcomes and `hits` say which of",
        "them hit, as `of: {events: [cx.payment.failed, cx.payment.succeeded]}` with",
        "`hits: {where: type == 'cx.payment.failed'}`. Hits that are events of their own make a rate, `unit: per_100`,",
        "such as crashes per 100 sessions: both are counted in the same time, and there is no upper end.",
        "",
        "A `share` is a ratio of sums: `of` has the `value` of the whole; `hits` say where the same value is part of",
        "it, or have a `value` of their own. A `distinct` count has a text as its `value`, such as `subject`. With",
        "`delay_s` an event is counted so many seconds later than it happened; one on which it is negative is not",
        "counted.",
        "",
        "A `mean` of answers on a scale says in `range` which one, such as `[1, 5]`: the interval stays on it.",
        "",
        "An event may stand for several trials of a `ratio`: `of` has their number as its `value`, and `hits` have the",
        "number of those that hit, alone. The KPIs of the pipeline are made so: `pipeline.range` is a range of records",
        "that were taken in together, with their number by outcome (`read` is the sum of `counted`, `duplicate`,",
        "`late`, `bad` and `conflict`), and with `age_s`, how old the newest event of the source was.",
        "`pipeline.refused` is a refused record, with its `reason` and `path`. Nobody sends these two; both have a",
        "`channel`, and each stands alone in its selector.",
        "",
        "An outcome that is known after a while is of class C and `matured`, with a `wait` such as `48h`; its hits say",
        "in `age_s` how long after the trial they came, or `of` says it where one event tells of both, as derived",
        "events do (docs/RELATIONS.md). There is a second KPI then, `…_provisional`, that does not wait.",
        "",
        "Nothing counted is no data, never 0. Two kinds of sums have no value either, though n says that something was",
        "counted; `cx query` gives the reason as a note. A rate of events of their own, or a share of a mark that may",
        "be left out (`failed`), is unknown until the first came (by channel, where the KPI is kept by channel), or",
        "until `CX_SENDS` declares that they are sent, such as `call_center/cx.contact.transferred`. A share of",
        "outcomes that are events of different types is unknown until both came, a hit and something else: with 100 %",
        "failed payments, the others may be never sent. An amount over several currencies has values by",
        "currency only; a KPI of your own adds them up at the rates that it names, from which day on each holds, not",
        "kept by currency, and without what it has no rate for. With this in `rates.yaml`,",
        "which `cx kpis check rates.yaml` checks, and with `CX_KPIS_PATH=rates.yaml`,",
        "`cx query kpi revenue_in_rial` gives the total:",
        "",
        "```yaml",
        *_RATES.splitlines(),
        "```",
        "",
        "Of 85,000,000 IRR, 2 USD, 7 EUR and 9 without a currency it makes 85,840,000 (n = 2) if they are ordered on",
        "20 March in Tehran, and 85,900,000 from the next day on, whenever they are counted; `cx verify` recomputes",
        "it.",
        "",
        "A `derived` KPI has `derive` instead of `of`: a `gap` between label values, the `coverage` of places, the",
        "`difference` or `quotient` of two, the test `srm` of an even assignment, an `index`. It is computed whenever",
        "one of its inputs is published, and stands among the rolling values only.",
        "",
        "| id | name | unit | aggregator | owner |",
        "|---|---|---|---|---|",
        *(f"| [{kpi.id}](#{kpi.id}) | {kpi.name} | {kpi.unit} | {kpi.aggregator} | {kpi.owner} |" for kpi in listed),
        "",
    ]
    for kpi in listed:
        lines += [*_section(kpi), ""]
    return "\n".join(lines)


def _section(kpi: Kpi) -> Iterator[str]:
    yield f"## {kpi.id}"
    yield ""
    yield f"**{kpi.name}.** {kpi.question}"
    yield ""
    yield kpi.formula
    yield ""
    yield f"- Definition: `{kpi.definition_id}`"
    yield f"- Unit: {kpi.unit}; {_DIRECTIONS[kpi.direction]}"
    yield f"- Class: {kpi.class_}, {_CLASSES[kpi.class_]}; {kpi.maturity}"
    yield f"- Aggregator: {_aggregator(kpi)}"
    if kpi.derive is not None:
        yield f"- Made of: {_derivation(kpi.derive)}"
        yield from _ending(kpi)
        return
    yield f"- Counts: {counted(kpi)}"
    first, second = AGGREGATORS[kpi.aggregator].sides
    yield f"- {first}: {_selector(kpi.of)}"
    if kpi.hits:
        yield f"- {second}: {_among(kpi.hits) if kpi.nested else _selector(kpi.hits)}"
    if kpi.range is not None:
        yield f"- Answers: from {kpi.range[0]:g} to {kpi.range[1]:g}"
    if kpi.params:
        yield f"- Parameters: {', '.join(f'{name} = {value}' for name, value in kpi.params.items())}"
    yield from _ending(kpi)


def _ending(kpi: Kpi) -> Iterator[str]:
    if reason := reason_of(kpi):
        yield f"- No data while {reason}" if reason != SEVERAL else f"- No data with {reason}"
    yield f"- By: {'; '.join(', '.join(grouping) or 'the whole' for grouping in kpi.groupings)}"
    yield f"- Shown from n = {kpi.min_n.show}, coloured from {kpi.min_n.colour}, alerted on from {kpi.min_n.alert}"
    if kpi.alert:
        yield f"- Default alert: {alert_text(kpi)}"
    yield f"- Owner: {kpi.owner}. Source: {kpi.source}."


def _derivation(derivation: Derivation) -> str:
    over = f" over {', '.join(derivation.parts[0].over)}" if derivation.parts[0].over else ""
    if derivation.how == "index":
        parts = ", ".join(f"`{p.kpi}` × {p.weight:g} ({p.worst:g} to {p.best:g})" for p in derivation.parts)
        return f"index of {parts}; shown if {derivation.covering:.0%} of the weights are known"
    parts = " and ".join(f"`{part.kpi}`" for part in derivation.parts)
    enough = f", each with n ≥ {derivation.min_n}" if derivation.min_n > 1 else ""
    return f"{derivation.how} of {parts}{over}{enough}"


def alert_text(kpi: Kpi) -> str:
    """Say in words when the owner of a KPI wants to hear of it."""
    if kpi.alert is None:
        return "none"
    side = "above" if kpi.direction == "down" else "below"
    against = "" if kpi.alert.target is None else f", {side} {kpi.alert.target:g} {kpi.unit}"
    lasting = f", lasting {kpi.alert.for_minutes} min" if kpi.alert.for_minutes else ""
    return f"{kpi.alert.method}{against}, over {kpi.alert.window}{lasting}"


def _kept(kind: Aggregator) -> str:
    return ", ".join(kind.fields) or "counts in bins"


def _aggregator(kpi: Kpi) -> str:
    parts: list[str] = [kpi.aggregator]
    if kpi.quantiles:
        parts.append(" and ".join(f"p{q * 100:g}" for q in kpi.quantiles))
    if kpi.of.value and kpi.scale > 1:
        parts.append(f"kept in steps of 1/{kpi.scale}")
    return ", ".join(parts)


def _among(selector: Selector) -> str:
    """Say which of the events of the first selector are meant, and what of them."""
    value = f"`{selector.value.text}` of " if selector.value else ""
    return f"{value}them" if selector.where is TRUE else f"{value}those of them where `{selector.where.text}`"


def _selector(selector: Selector) -> str:
    names = ", ".join("all types" if name == "*" else f"`{name}`" for name in selector.written)
    value = f"`{selector.value.text}` of " if selector.value else ""
    where = "" if selector.where.text == "True" else f" where `{selector.where.text}`"
    later = ""
    if selector.delay:
        hour = ", at the next full hour" if selector.delay.hourly else ""
        later = f", counted `{selector.delay.seconds.text}` s later{hour}"
    return f"{value}{names}{where}{later}"
