"""The live view of the embedded run in a terminal: rates, lag, outcomes, and KPIs per channel with n and interval."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from streams.events.scalars import CHANNELS
from streams.kpis.catalogue import Catalogue
from streams.kpis.definition import Kpi
from streams.local.observe import WorkerState

SHOWN = (
    "csat", "nps", "ces", "conversion", "service_level_all_offered", "asa", "abandonment", "aht",
    "review_score", "delivery_lateness", "store_queue_wait", "orders", "volume",
)  # fmt: skip
"""KPIs of the live view; everything else is in ClickHouse."""

RATE_OVER_S = 10.0

WIDE = 175
"""Columns from which every channel has room for its intervals."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A KPI value as shown."""

    value: float | None
    n: int
    lo: float | None
    hi: float | None


@dataclass(slots=True)
class View:
    """Renders the state of a run; `tell` it what is new, then `render`."""

    catalogue: Catalogue
    addresses: Sequence[tuple[str, str]]
    window: str = "5m"
    state: WorkerState = field(default_factory=WorkerState)
    cells: Mapping[tuple[str, str], Cell] = field(default_factory=dict)
    """By KPI and channel; channel `all` is the whole."""
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=4))
    restarts: int = 0
    _reads: deque[tuple[float, int]] = field(default_factory=deque)

    def tell(self, state: WorkerState | None, cells: Mapping[tuple[str, str], Cell], now: float) -> None:
        """Take over what was observed at `now` (seconds that only go forward)."""
        if state is not None:
            self.state = state
            self._reads.append((now, state.outcomes.get("read", 0)))
            while self._reads and now - self._reads[0][0] > RATE_OVER_S:
                self._reads.popleft()
        self.cells = cells

    @property
    def rate(self) -> float:
        """Records per second over the last seconds."""
        if len(self._reads) < 2:
            return 0.0
        (first_at, first), (last_at, last) = self._reads[0], self._reads[-1]
        return max(0, last - first) / (last_at - first_at) if last_at > first_at else 0.0

    def render(self, width: int) -> RenderableType:
        """Return the whole screen for a terminal of `width` columns; a narrow one has intervals of the whole only."""
        parts: list[RenderableType] = [self._pipeline(), self._kpis(intervals=width >= WIDE)]
        if self.notes:
            parts.append(Text("\n".join(self.notes), style="dim"))
        parts.append(Text("Ctrl-C stops everything", style="dim"))
        return Group(*parts)

    def _pipeline(self) -> RenderableType:
        state, grid = self.state, Table.grid(padding=(0, 3))
        for _ in range(2):
            grid.add_column()
        names = ["read", "counted", "duplicate", "late", "bad", *["conflict"] * bool(state.outcomes.get("conflict"))]
        outcomes = "  ".join(f"{name} {state.outcomes.get(name, 0):,}" for name in names)
        grid.add_row("events", f"{self.rate:,.0f}/s   {outcomes}")
        grid.add_row("channels", "  ".join(f"{name} {state.channels.get(name, 0):,}" for name in CHANNELS))
        lag = sum(state.lag.values())
        worker = f"lag {lag:,} records   cpu {state.cpu_s:,.1f} s"
        if self.restarts:
            worker += f"   restarted {self.restarts} times"
        grid.add_row("worker", worker)
        if state.stopped:
            stopped = ", ".join(state.stopped)
            grid.add_row("stopped", Text(f"most records are bad: {stopped}; see the worker's log", style="bold red"))
        for name, address in self.addresses:
            grid.add_row(name, address)
        return Panel(grid, title="CX Streams", title_align="left")

    def _kpis(self, *, intervals: bool) -> RenderableType:
        table = Table(
            title=f"KPIs of the last {self.window}: value [95 % interval] n", title_justify="left", expand=True
        )
        table.add_column("KPI", no_wrap=True)
        for channel in ("all", *CHANNELS):
            table.add_column(channel, justify="right", no_wrap=True)
        for kpi_id in SHOWN:
            if kpi_id in self.catalogue:
                kpi = self.catalogue[kpi_id]
                row = [
                    self._cell(kpi, self.cells.get((kpi_id, channel)), interval=intervals or channel == "all")
                    for channel in ("all", *CHANNELS)
                ]
                table.add_row(kpi.name, *row)
        return table

    @staticmethod
    def _cell(kpi: Kpi, cell: Cell | None, *, interval: bool) -> Text:
        if cell is None or cell.value is None or cell.n < kpi.min_n.show:
            return Text("no data", style="dim")
        text = shown(kpi, cell.value)
        if interval and cell.lo is not None and cell.hi is not None:
            text += f" [{_number(cell.lo)}–{_number(cell.hi)}]"
        if kpi.aggregator != "count":
            text += f" n={cell.n:,}"
        return Text(text, style="dim" if cell.n < kpi.min_n.colour else "")


def shown(kpi: Kpi, value: float) -> str:
    """Return a value with its unit, short."""
    unit = {"percent": " %", "seconds": " s"}.get(kpi.unit, "")
    return f"{_number(value)}{unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.1f}"
