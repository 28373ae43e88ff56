"""What a worker says of itself and of the KPIs."""

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from streams import metrics
from streams.kpis.rolling.publish import PublishedValue


def published(kpi="csat", value=80.0, n=10, window="15m", maturity="closed", **labels) -> PublishedValue:
    lo, hi = (None, None) if value is None else (value - 5, value + 5)
    return PublishedValue(kpi, labels, window, "", 0, value, n, lo, hi, f"{kpi}@1", maturity, 1)


def samples(gauges: metrics.KpiGauges) -> dict[tuple[str, str, str], float]:
    return {(s.name, s.labels["kpi"], s.labels["channel"]): s.value for m in gauges.collect() for s in m.samples}


def test_kpis_come_with_their_number_and_interval() -> None:
    """The whole and the channels; a value that does not exist is left out, its number is 0."""
    gauges = metrics.KpiGauges()
    gauges.take(0, [published(), published(value=None, n=0, channel="web")])
    assert samples(gauges) == {
        ("cx_kpi_value", "csat", ""): 80.0, ("cx_kpi_answers", "csat", ""): 10, ("cx_kpi_lower", "csat", ""): 75.0,
        ("cx_kpi_upper", "csat", ""): 85.0, ("cx_kpi_answers", "csat", "web"): 0,
    }  # fmt: skip


def test_only_what_is_bounded_and_closed_becomes_a_metric() -> None:
    """Shops and agents have no bound, open windows are half full, other windows would multiply all."""
    gauges = metrics.KpiGauges()
    gauges.take(0, [published(unitid="s1"), published(maturity="open"), published(window="1h")])
    gauges.take(1, [published(channel="web", touchpoint="cart")])
    assert samples(gauges) == {}


def test_partitions_of_another_worker_are_forgotten() -> None:
    """Two workers must not tell of the same KPI."""
    gauges = metrics.KpiGauges()
    gauges.take(0, [published()])
    gauges.clear()
    assert samples(gauges) == {}


def test_every_metric_has_a_help_text_and_a_name_of_ours() -> None:
    """Named by the product, explained, and told in base units."""
    ours = [
        m for m in text_string_to_metric_families(generate_latest(metrics.REGISTRY).decode()) if m.name[:3] == "cx_"
    ]
    assert len(ours) > 20
    assert all(len(family.documentation) > 15 for family in ours)
    assert not [family.name for family in ours if family.name.endswith(("_ms", "_milliseconds", "_minutes_total"))]
