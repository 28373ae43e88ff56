"""What `cx value` prints, for people and as JSON."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import compress
from typing import Any, NamedTuple

from streams.commands.output import table
from streams.commands.printing import echo, line
from streams.kpis.arithmetic.intervals import Measure
from streams.kpis.language.steps import Steps
from streams.storage.customer_value import StoredOrders
from streams.value.loyalty import Cohort
from streams.value.periods import PeriodValue
from streams.value.purchases import Netted, Purchase
from streams.value.risk import ModelCheck
from streams.value.tiers import ValueTier

_MILLION = 1_000_000
_MOST_COLUMNS = 12
_NOT_YET = "too early to judge, not used"


class KnownOrders(NamedTuple):
    """
    What is stored, and what is left of it when refunds are taken off.

    Attributes:
        as_of: How far it is known, Unix seconds.
        steps: Months, by a zone and a calendar.
    """

    stored: StoredOrders
    netted: Netted
    as_of: int
    steps: Steps

    @property
    def purchases(self) -> Sequence[Purchase]:
        """Paid orders, less what was given back."""
        return self.netted.purchases


def print_cohorts(found: Sequence[Cohort], known: KnownOrders) -> None:
    """Print cohorts, one a line."""
    _print_known(known)
    shown = min(_MOST_COLUMNS, max((len(one.months) - 1 for one in found), default=0))
    rows = [
        (
            one.month,
            f"{one.size:,}" if one.complete else f"({one.size:,})",
            *_cells(one, shown),
        )
        for one in found
    ]
    columns = ("FIRST IN", "CUSTOMERS", *(f"+{number} mo" for number in range(1, shown + 1)))
    echo(table(columns, rows, least=columns[:1:-1]))
    echo("percent of the customers who buy again in the month; (not over yet)")


def _cells(cohort: Cohort, shown: int) -> Iterator[str]:
    later = cohort.months[1 : shown + 1]
    for one in later:
        share = f"{one.active.value:.1f}"
        yield share if one.complete else f"({share})"
    yield from [""] * (shown - len(later))


def print_tiers(
    found: Mapping[str, Sequence[ValueTier]], worths: Mapping[str, Mapping[str, float]] | None, known: KnownOrders
) -> None:
    """Print the tiers of each currency, and each customer with what it brought if that is given."""
    _print_known(known)
    rows = [
        (
            _currency(currency), one.name, f"{len(one.customers):,}", _amount(one.share.value, "%"),
            _amount(one.revenue), _amount(one.revenue_share, "%"), _amount(one.least), _amount(one.each.value),
            _ends(one.each),
        )
        for currency, tier in found.items() for one in tier
    ]  # fmt: skip
    columns = ("CURRENCY", "TIER", "CUSTOMERS", "SHARE", "REVENUE", "OF REVENUE", "FROM", "MEAN", "95 % INTERVAL")
    echo(table(columns, rows, least=("FROM", "SHARE", "OF REVENUE", "CUSTOMERS")))
    if worths is not None:
        echo()
        listed = [
            (customer, _currency(currency), one.name, _amount(worths[currency][customer]))
            for currency, tier in found.items() for one in tier for customer in one.customers
        ]  # fmt: skip
        echo(table(("CUSTOMER", "CURRENCY", "TIER", "WORTH"), listed))


def plain_model(check: ModelCheck) -> dict[str, Any]:
    """Return what is known of a model as JSON has it."""
    found = check.found
    if found is None:
        return {"model": check.model, "customers": 0, "pending": check.pending, "usable": False, "verdict": _NOT_YET}
    return {
        "model": check.model,
        "customers": found.observed.n,
        "pending": check.pending,
        "usable": found.usable,
        "verdict": found.verdict,
        "left": found.churned,
        "expected": found.expected,
        "observed": _plain_measure(found.observed),
        "mean_predicted": found.mean_predicted,
        "calibration_error": found.error,
        "brier": found.brier,
        "brier_of_rate": found.brier_of_rate,
        "log_loss": found.log_loss,
        "auc": found.auc,
        "p": found.p,
        "bins": [
            {
                "customers": one.n,
                "left": one.churned,
                "predicted": one.predicted,
                "observed": _plain_measure(one.observed),
            }
            for one in found.bins
        ],
    }


def print_models(checks: Sequence[ModelCheck], known: KnownOrders) -> None:
    """Print of each model what it predicted, what came, and whether it may be used."""
    _print_known(known)
    for check in checks:
        echo()
        found = check.found
        line(f"{check.model or '(model not given)'}: {_NOT_YET if found is None else found.verdict}")
        if check.pending:
            echo(f"{check.pending:,} customers are scored whose horizon is not over yet")
        if found is None:
            continue
        echo(
            f"{found.churned:,} of {found.observed.n:,} customers left, {found.expected:,.1f} were expected to;"
            f" calibration error {found.error:.4f}"
        )
        auc = "" if found.auc is None else f", AUC {found.auc:.3f}"
        echo(
            f"Brier {found.brier:.4f} (churn rate alone {found.brier_of_rate:.4f}), log loss {found.log_loss:.4f}{auc}"
        )
        rows = [
            (
                f"{100 * one.predicted:.1f}%", _amount(one.observed.value, "%"), _ends(one.observed, "%"),
                f"{one.n:,}", f"{one.churned:,}", f"{one.n * one.predicted:,.1f}",
            )
            for one in found.bins
        ]  # fmt: skip
        echo(table(("RISK", "HAVE LEFT", "95 % INTERVAL", "CUSTOMERS", "LEFT", "EXPECTED"), rows))


def _plain_measure(measure: Measure | None) -> dict[str, Any] | None:
    return None if measure is None else measure._asdict()


def plain_known(known: KnownOrders) -> dict[str, Any]:
    """Return how far the store knows, and what took no part."""
    return {
        "zone": known.steps.zone,
        "calendar": known.steps.calendar,
        "known_until": _iso(known.as_of),
        "orders": len(known.stored.orders),
        "paid_orders": len(known.purchases),
        "anonymous_orders": known.stored.anonymous,
        "orders_without_amount": _without_amount(known),
        "left_out": _left_out(known),
    }


def _without_amount(known: KnownOrders) -> int:
    return sum(one.net is None for one in known.purchases)


def _left_out(known: KnownOrders) -> Mapping[str, int]:
    return dict(sorted(Counter(one.why for one in known.netted.ignored).items()))


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def plain_period(found: PeriodValue) -> dict[str, Any]:
    """Return a period as JSON has it."""
    period, loyalty, back = found.period, found.loyalty, found.returned
    return {
        "month": period.month or None,
        "since": _iso(period.since),
        "until": _iso(period.until),
        "before": _iso(period.before),
        "complete": found.complete,
        "start_customers": loyalty.start,
        "end_customers": loyalty.end,
        "new_customers": loyalty.new,
        "retention": _plain_measure(loyalty.retained),
        "churn": _plain_measure(loyalty.churned),
        "return": {
            "days": back.days,
            **(_plain_measure(back.share) or {}),
            "returned": len(back.returned),
            "pending": len(back.pending),
            "provisional": _plain_measure(back.provisional),
        },
        "money": {
            currency: {
                "revenue": one.revenue,
                "order_value": _plain_measure(one.order_value),
                "arpu": _plain_measure(one.arpu),
                "repeat_revenue_share": _plain_measure(one.repeat_share),
                "clv_historic": _plain_measure(one.historic),
                "clv_predictive": _plain_measure(one.predicted),
                "clv_simple": one.simple,
            }
            for currency, one in found.money.items()
        },
    }


def plain_cohort(cohort: Cohort) -> dict[str, Any]:
    """Return a cohort as JSON has it."""
    return {
        "month": cohort.month,
        "customers": cohort.size,
        "complete": cohort.complete,
        "months": [
            {"month": one.month, "active": _plain_measure(one.active), "revenue": one.revenue, "complete": one.complete}
            for one in cohort.months
        ],
    }


def plain_tier(tier: ValueTier, worths: Mapping[str, float] | None) -> dict[str, Any]:
    """Return a tier as JSON has it, with what each customer brought if that is given."""
    return {
        "tier": tier.name,
        "customers": len(tier.customers),
        "share": _plain_measure(tier.share),
        "revenue": tier.revenue,
        "revenue_share": tier.revenue_share,
        "least": tier.least,
        "mean": _plain_measure(tier.each),
        **({} if worths is None else {"worth": {customer: worths[customer] for customer in tier.customers}}),
    }


def _print_known(known: KnownOrders) -> None:
    until = known.steps.label(known.as_of)
    paid, orders = len(known.purchases), len(known.stored.orders)
    echo(f"{paid:,} paid orders, of {orders:,} placed by known customers until {until} ({known.steps.zone})")
    notes = [f"{known.stored.anonymous:,} orders without a customer"] if known.stored.anonymous else []
    if without := _without_amount(known):
        notes.append(f"{without:,} orders without an amount, in no money")
    notes += [f"{count:,} × {why}" for why, count in _left_out(known).items()]
    if notes:
        echo(f"left out: {'; '.join(notes)}")


def print_period(found: PeriodValue, known: KnownOrders) -> None:
    """Print a period."""
    period, loyalty, back = found.period, found.loyalty, found.returned
    _print_known(known)
    since, until = (known.steps.label(at) for at in (period.since, period.until))
    line(f"{period.month or 'period'}: {since} to {until}{'' if found.complete else ', not over yet'}")
    echo(f"customers: {loyalty.end:,} bought, {loyalty.new:,} of them had not in the period before")
    open_yet = "" if found.complete else "provisional"
    waiting = f"{len(back.pending):,} more have not had {back.days} d yet" if back.pending else ""
    rows = [
        _row("retention", "", loyalty.retained, "%", open_yet or _no_data(loyalty.start)),
        _row("churn", "", loyalty.churned, "%", open_yet),
        _row(f"came back within {back.days} d", "", back.share, "%", waiting),
    ]
    for currency, one in found.money.items():
        name = _currency(currency)
        rows += [
            ("revenue", name, _amount(one.revenue), "", f"{one.arpu.n:,}", open_yet),
            _row("value of an order", name, one.order_value),
            _row("revenue per active customer", name, one.arpu, note=open_yet),
            *([_row("revenue of returning customers", name, one.repeat_share, "%")] if one.repeat_share else []),
            _row("lifetime value so far", name, one.historic),
            _row("lifetime value to come", name, one.predicted, note=open_yet),
        ]
        if one.simple is not None:
            rows.append(("lifetime value, simple", name, _amount(one.simple), "", "", open_yet))
    columns = ["MEASURE", "CURRENCY", "VALUE", "95 % INTERVAL", "N", "NOTE"]
    needed = [True, len(found.money) > 1, True, True, True, any(row[-1] for row in rows)]
    if len(found.money) == 1:
        line(f"money in {_currency(*found.money)}")
    echo(table([*compress(columns, needed)], [[*compress(row, needed)] for row in rows], least=("N",)))


def _no_data(start: int) -> str:
    return "" if start else "no data: nobody bought in the period before"


def _row(name: str, currency: str, measure: Measure, unit: str = "", note: str = "") -> tuple[str, ...]:
    return name, currency, _amount(measure.value, unit), _ends(measure, unit), f"{measure.n:,}", note


def _ends(measure: Measure, unit: str = "") -> str:
    if measure.lo is None:
        return ""
    return f"{_amount(measure.lo, unit)} to {_amount(measure.hi, unit)}" if measure.hi is not None else (
        f"{_amount(measure.lo, unit)} and more"
    )  # fmt: skip


def _amount(number: float | None, unit: str = "") -> str:
    if number is None:
        return ""
    if unit:
        return f"{number:.1f}{unit}"
    scaled, millions = (number / _MILLION, " M") if abs(number) >= _MILLION else (number, "")
    return f"{scaled:,.{0 if abs(scaled) >= 1_000 else 2}f}{millions}"


def _currency(currency: str) -> str:
    return currency or "(not given)"
