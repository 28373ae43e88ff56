"""Survey answers with an incident in them, as events, and a rule that sees it."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from streams.producers.readers.base import Touch

RULES = """
groups:
  - name: test
    rules:
      - alert: CsatLow
        kpi: csat
        by: [channel]
        method: floor
        params: {target: 70}
        window: 5m
        min_n: 30
        min_denominator: 1
        for: 3m
        keep_firing_for: 4m
        inhibit_by: []
        severity: page
        owner: customer-insight
        runbook: https://runbooks.example/csat
        labels: {journey: purchase}
        annotations:
          summary: "CSAT of {{ labels.channel }} is {{ value | show }}"
"""

CHANNELS = ("web", "app", "store", "call_center")


def answers(start: float, minutes: int, bad: Mapping[str, Sequence[range]], per_minute: int = 12) -> list[Touch]:
    """Answers of all channels, so many per minute and channel; those of some channels are bad in some minutes."""
    touches = []
    number = 0
    for minute in range(minutes):
        for place in range(per_minute):
            for at in CHANNELS:
                number += 1
                score = 1 if any(minute in spell for spell in bad.get(at, ())) else 5
                touches.append(answer(number, start + 60 * minute + place * 60 / per_minute, at, score))
    return touches


def answer(number: int, at: float, channel: str, score: int) -> Touch:
    data = {"survey_id": "s", "metric": "csat", "scale": 5, "score": score}
    if score < 3:
        data["text"] = f"سفارش {number} نرسید"
    subject = f"c{number % 50}"
    envelope = {
        "specversion": "1.0", "id": f"a{number}", "source": "/test", "type": "cx.survey.answered", "subject": subject,
        "time": datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z"), "channel": channel, "data": data,
    }  # fmt: skip
    return Touch(0.0, channel, subject, json.dumps(envelope, ensure_ascii=False).encode())
