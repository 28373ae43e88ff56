"""A judge on closed minutes made by hand, for tests of what it says."""

from streams.alerts.judging.judge import Judge
from streams.alerts.rules.parsing import parse_rules
from streams.alerts.types import SourceHealth
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.series import series_key
from tests.harness.closed import Ahead, Closed

CATALOGUE = Catalogue.load()
WINDOWS = ("1m", "5m", "15m", "1h", "24h")
LOW = """
groups:
  - name: test
    owner: contact-centre
    rules:
      - {alert: Low, kpi: service_level_all_offered, method: floor, window: 1m, params: {target: 80}, severity: page,
         runbook: docs/RUNBOOK.md, for: 2m, min_n: 100}
      - {alert: LowByChannel, kpi: service_level_all_offered, by: [channel], method: floor, window: 1m,
         params: {target: 80}, severity: page, runbook: docs/RUNBOOK.md, for: 1m, min_n: 100}
"""


def key(kpi: str = "service_level_all_offered", **labels: str) -> str:
    return series_key(kpi, tuple(labels.items()))


def rules(text: str = LOW):
    return parse_rules(text, CATALOGUE, windows=WINDOWS)


def well(*silent: str, bad: int = 0, minutes: int = 1):
    """Four channels with 60 records a minute; those named are silent for some minutes."""
    return [
        SourceHealth(name, minutes if name in silent else 0, max(0, 300 - 60 * minutes) if name in silent else 300,
                     bad if name == "web" else 0)
        for name in ("web", "app", "store", "call_center")
    ]  # fmt: skip


class Run:
    """A judge and its closed minutes."""

    def __init__(self, text: str = LOW, **settings) -> None:
        self.judge = Judge(rules(text), windows=WINDOWS, **settings)
        self.closed = Closed(WINDOWS)
        self.minute = 1000
        self.log = []

    def play(self, series, minutes: int = 1, health=None, **step):
        """Close some minutes alike; return the transitions as `minute rule{labels} OLD => NEW [held]`."""
        found = []
        for _ in range(minutes):
            self.minute += 1
            view = self.closed.close(self.minute, series, health if health is not None else well())
            found += self.judge.step(view, **step)
        self.log += found
        return [told(t) for t in found]

    def peek(self, series, health=None, ahead: int = 1):
        """Show the judge what has come of a minute that is still open; return the transitions in the same way."""
        found = self.judge.glance(Ahead(self.closed, series, health, ahead))
        self.log += found
        return [told(t) for t in found]


def told(t) -> str:
    held = f" [{t.inhibited_by}]" if t.inhibited_by else ""
    labels = ",".join(t.labels.values())
    return f"{t.minute} {t.rule}{{{labels}}} {t.why.split(':')[0]}{held}"


def level(web: tuple[int, int], app: tuple[int, int]):
    """Offered and answered in time, of two channels."""
    both = [web[0] + app[0], web[1] + app[1]]
    return {key(): both, key(channel="web"): list(web), key(channel="app"): list(app)}


GOOD = level((200, 188), (200, 188))
BAD = level((200, 80), (200, 80))
WEB = level((200, 80), (200, 188))
"""Only one of them is bad, which shows in the whole too."""


CUSUM = """
groups:
  - name: test
    owner: contact-centre
    rules:
      - {alert: Erosion, kpi: service_level_all_offered, method: cusum, window: 1h, params: {p0: 94, p1: 84, h: 8},
         severity: ticket}
"""
"""One rule that remembers."""


def taken_over(run: Run, text: str = LOW) -> Run:
    """A new judge, with other rules perhaps, that goes on with what the old one saved."""
    records = [(b"p/1/0/0", b"a page of the merge"), *run.judge.dirty_records(), run.judge.commit_record()]
    run.judge = Judge(rules(text), windows=WINDOWS)
    run.judge.restore(records)
    return run
