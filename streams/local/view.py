"""The live view of the embedded run in a terminal: rates, lag, outcomes, and KPIs per channel with n and interval."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from streams.events.scalars import CHANNELS
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.definition import Kpi
from streams.local.observe import WorkerState

SHOWN = (
    "csat", "nps", "ces", "conversion", "service_level_all_offered", "asa", "abandonment", "aht",
    "review_score", "delivery_lateness", "store_queue_wait", "orders", "volume",
)  # fmt: skip
"""KPIs of the live view; everything else is in ClickHouse."""

RATE_OVER_S = 10.0
_MEASURING = Console(width=1_000)

ALWAYS = ("live page", "other cx")
"""Addresses that are shown however small the terminal is."""


@dataclass(frozen=True, slots=True)
class ShownValue:
    """A KPI value as shown."""

    value: float | None
    n: int
    lo: float | None
    hi: float | None


@dataclass(slots=True)
class LiveView:
    """Renders the state of a run; `tell` it what is new, then `render`."""

    catalogue: Catalogue
    addresses: Sequence[tuple[str, str]]
    window: str = "5m"
    state: WorkerState = field(default_factory=WorkerState)
    cells: Mapping[tuple[str, str], ShownValue] = field(default_factory=dict)
    """By KPI and channel; channel `all` is the whole."""
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=4))
    restarts: int = 0
    by_channel: bool = False
    """Whether a narrow terminal shows channels below each KPI."""
    _reads: deque[tuple[float, int]] = field(default_factory=deque)

    def tell(self, state: WorkerState | None, cells: Mapping[tuple[str, str], ShownValue], now: float) -> None:
        """Take over what was observed at `now` (seconds that only go forward)."""
        if state is not None:
            self.state = state
            self._reads.append((now, state.outcomes.get("read", 0)))
            while len(self._reads) > 2 and now - self._reads[0][0] > RATE_OVER_S:
                self._reads.popleft()
        self.cells = cells

    @property
    def rate(self) -> float:
        """Records per second over the last seconds."""
        if len(self._reads) < 2:
            return 0.0
        (first_at, first), (last_at, last) = self._reads[0], self._reads[-1]
        return max(0, last - first) / (last_at - first_at) if last_at > first_at else 0.0

    def render(self, width: int, height: int = 1_000) -> RenderableType:
        """
        Return the whole screen for a terminal of `width` columns and `height` lines.

        A wide one has a column per channel, with intervals if there is room; one in which not all of it fits has a line
        per KPI. What does not fit in height is left out, and the last line says so.
        """
        notes = list(self.notes)
        wide = next((table for table in map(self._wide, (True, False)) if _columns(table) <= width), None)
        pipeline = self._rows(narrow=wide is None)
        parts: list[RenderableType] = [self._pipeline(pipeline)]
        end = "Ctrl-C stops everything"
        if wide is not None:
            parts.append(wide)
        else:
            kpis = self._lines()
            # The title, the heading and the end take a line each, and the frame two.
            free = max(1, height - len(pipeline) - len(notes) - 5)
            if len(kpis) > free:
                end += f"; {len(kpis) - free} lines more on a higher terminal"
            parts.append(self._narrow(kpis[:free]))
        if notes:
            parts.append(Text("\n".join(notes), style="dim"))
        parts.append(Text(end, style="dim"))
        return Group(*parts)

    def line(self) -> str:
        """Return the state in one line, for where there is no terminal."""
        names = (
            "read",
            "counted",
            "duplicate",
            "late",
            "bad",
            *["conflict"] * bool(self.state.outcomes.get("conflict")),
        )
        outcomes = ", ".join(f"{name} {self.state.outcomes.get(name, 0):,}" for name in names)
        sources = ", ".join(one.source for one in self.state.stopped)
        stopped = f"; stopped, most records are bad: {sources}; see `cx sources show`" if sources else ""
        return f"{self.rate:,.0f} events/s, {outcomes}, lag {sum(self.state.lag.values()):,}{stopped}"

    def _rows(self, *, narrow: bool) -> list[tuple[str, RenderableType]]:
        """Return what there is to say of the pipeline, by its name."""
        state = self.state
        outcomes = "  ".join(
            f"{name} {short(state.outcomes.get(name, 0))}" for name in ("read", "counted", "duplicate", "late", "bad")
        )
        lag = sum(state.lag.values())
        worker = f"{self.rate:,.0f} events/s   lag {lag:,} records   cpu {state.cpu_s:,.1f} s"
        if self.restarts:
            worker += f"   restarted {self.restarts} times"
        rows: list[tuple[str, RenderableType]] = [
            ("events", outcomes),
            ("channels", "  ".join(f"{name} {short(state.channels.get(name, 0))}" for name in CHANNELS)),
            ("worker", worker),
        ]
        if conflicts := state.outcomes.get("conflict"):
            rows.append(
                ("conflicts", f"{short(conflicts)}: an event came again with other content; the first one counts")
            )
        if state.stopped:
            stopped = ", ".join(one.source for one in state.stopped)
            rows.append(("stopped", Text(f"most are bad: {stopped}; see `cx sources show`", style="bold red")))
        return rows + [(name, at) for name, at in self.addresses if not narrow or name in ALWAYS]

    @staticmethod
    def _pipeline(rows: Sequence[tuple[str, RenderableType]]) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True, min_width=max(len(name) for name, _ in rows))
        grid.add_column(no_wrap=True, overflow="ellipsis")
        for name, shown in rows:
            grid.add_row(name, shown)
        return Panel(grid, title="CX Streams", title_align="left")

    def _lines(self) -> list[tuple[str, Kpi, ShownValue | None]]:
        """Return a line for each KPI, with those of its channels below if they are asked for."""
        found: list[tuple[str, Kpi, ShownValue | None]] = []
        for kpi_id in SHOWN:
            if kpi_id not in self.catalogue:
                continue
            kpi = self.catalogue[kpi_id]
            found.append((kpi.name, kpi, self.cells.get((kpi_id, "all"))))
            if self.by_channel:
                known = [(channel, self.cells.get((kpi_id, channel))) for channel in CHANNELS]
                found += [(f"  {channel}", kpi, cell) for channel, cell in known if cell is not None]
        return found

    def _narrow(self, lines: Sequence[tuple[str, Kpi, ShownValue | None]]) -> RenderableType:
        table = Table(
            title=f"KPIs of the last {self.window}", title_justify="left", box=None, expand=True, padding=(0, 1)
        )
        table.add_column("KPI", no_wrap=True, overflow="ellipsis", ratio=1)
        for name in ("value", "95 % interval", "n"):
            table.add_column(name, justify="right", no_wrap=True)
        for name, kpi, cell in lines:
            if cell is None or cell.value is None or cell.n < kpi.min_n.show:
                table.add_row(name, Text("no data", style="dim"), "", "")
                continue
            interval = "" if cell.lo is None or cell.hi is None else f"{_number(cell.lo)}–{_number(cell.hi)}"
            style = "dim" if cell.n < kpi.min_n.colour else ""
            table.add_row(name, shown(kpi, cell.value), interval, short(cell.n), style=style)
        return table

    def _wide(self, intervals: bool) -> Table:
        table = Table(title=f"KPIs of the last {self.window}: value [95 % interval] n", title_justify="left")
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
    def _cell(kpi: Kpi, cell: ShownValue | None, *, interval: bool) -> Text:
        if cell is None or cell.value is None or cell.n < kpi.min_n.show:
            return Text("no data", style="dim")
        text = shown(kpi, cell.value)
        if interval and cell.lo is not None and cell.hi is not None:
            text += f" [{_number(cell.lo)}–{_number(cell.hi)}]"
        if kpi.aggregator != "count":
            text += f" n={short(cell.n)}"
        return Text(text, style="dim" if cell.n < kpi.min_n.colour else "")


def _columns(table: Table) -> int:
    return _MEASURING.measure(table).maximum


def shown(kpi: Kpi, value: float) -> str:
    """Return a value with its unit, short."""
    unit = {"percent": " %", "per_100": " per 100", "seconds": " s"}.get(kpi.unit, "")
    return f"{_number(value)}{unit}"


def short(count: int) -> str:
    """Return a number of things in six characters."""
    for least, size, unit in ((999_950_000, 10**9, "G"), (999_950, 10**6, "M"), (10_000, 10**3, "k")):
        if count >= least:
            return f"{count / size:.1f}{unit}"
    return f"{count:,}"


def _number(value: float) -> str:
    if abs(value) >= 100_000:
        return ("-" if value < 0 else "") + short(round(abs(value)))
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.1f}"
