"""The names of all topics, derived from one prefix."""

from dataclasses import dataclass

from streams.events.scalars import CHANNELS, DERIVED

TABLES = ("ingest", "merge", "relate", "cases")
"""Names of the fenced tables, which have a changelog each."""


@dataclass(frozen=True, slots=True)
class Topics:
    """Topics of one installation; every one has the same number of partitions."""

    prefix: str

    @property
    def sources(self) -> tuple[str, ...]:
        """Touchpoint topics, one per channel."""
        return tuple(f"{self.prefix}.touchpoints.{channel}" for channel in CHANNELS)

    @property
    def derived(self) -> str:
        """What relations say of these, which is read like them; nobody else writes there."""
        return f"{self.prefix}.touchpoints.{DERIVED}"

    @property
    def all_sources(self) -> tuple[str, ...]:
        """All that ingest may read."""
        return (*self.sources, self.derived)

    @property
    def facts(self) -> str:
        """What relations read of the accepted events, a record for each frozen range."""
        return f"{self.prefix}.facts"

    @property
    def case_facts(self) -> str:
        """What opens cases and what happens to them, of the accepted events, a record for each frozen range."""
        return f"{self.prefix}.case_facts"

    @property
    def cases(self) -> str:
        """Every case as it stands after each change."""
        return f"{self.prefix}.cases"

    @property
    def partials(self) -> str:
        """KPI deltas of frozen ranges, partitioned by KPI."""
        return f"{self.prefix}.kpi.partials"

    @property
    def blocks(self) -> str:
        """Raw payloads and outcomes of frozen ranges."""
        return f"{self.prefix}.blocks"

    @property
    def kpis(self) -> str:
        """Rolling KPI values and minute totals."""
        return f"{self.prefix}.kpis"

    @property
    def alerts(self) -> str:
        """Every transition of every alert, with its evidence."""
        return f"{self.prefix}.alerts"

    @property
    def notifications(self) -> str:
        """Those of the transitions that webhooks still have to be sent: read on its own, so that it may wait."""
        return f"{self.prefix}.notifications"

    @property
    def control(self) -> str:
        """What operators order of sources that have stopped, each in the partition of its source."""
        return f"{self.prefix}.control"

    @property
    def dead_letters(self) -> str:
        """Refused records with the reason."""
        return f"{self.prefix}.dead_letters"

    def source_of(self, channel: str) -> str:
        """Return the touchpoint topic of a channel."""
        return f"{self.prefix}.touchpoints.{channel}"

    def channel_of(self, topic: str) -> str:
        """Return the channel of a touchpoint topic."""
        return topic.removeprefix(f"{self.prefix}.touchpoints.")
