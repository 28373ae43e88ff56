"""Tables of `cx value` in a narrow terminal."""

import re
from datetime import UTC, datetime

import pytest

from streams.commands.value_output import KnownOrders, print_period, print_tiers
from streams.kpis.language.steps import Steps
from streams.storage.customer_value import StoredOrders
from streams.value.periods import month_named, value_of
from streams.value.purchases import PlacedOrder, net_of
from streams.value.tiers import tiers
from streams.value.worth import worth_of


def test_tables_of_large_amounts_fit_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    steps, begin, day = Steps("month", 1), 1_767_225_600, 86_400
    placed = [
        PlacedOrder(f"{currency}{number}", f"c{number % 900}", begin + number * day // 30, 2e12 / (1 + number % 7), currency)
        for number in range(1_800) for currency in ("IRR", "EUR")[: 1 + number % 2]
    ]  # fmt: skip
    known_until = datetime.fromtimestamp(begin + 50 * day, UTC)
    stored = StoredOrders(placed, [], 0, known_until)
    known = KnownOrders(stored, net_of(placed), begin + 50 * day, steps)
    month = month_named("2026-02", steps)
    print_period(value_of(known.purchases, month, known.as_of, "UTC", margin=0.9, lifespan=3), known)
    worths = {
        currency: {name: one.value for name, one in customers.items()}
        for currency, customers in worth_of(known.purchases).items()
    }
    print_tiers({currency: tiers(values) for currency, values in worths.items()}, worths, known)
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines() if "  " in line) <= 80, printed
    assert re.search(r"^revenue +IRR +[\d,]{9,} M +", printed, re.MULTILINE), printed
