"""What one event of a type stands for: the unit that KPIs count, and what counts more than once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from streams.kpis.language.definition import Kpi

UNITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cx.agent.evaluation_scored": "assessments (a contact that is assessed again has another one)",
        "cx.agent.state_changed": "states that agents left",
        "cx.agent.transcript_turn": "turns of conversations (not contacts)",
        "cx.app.crashed": "crashes (a session may crash more than once)",
        "cx.case.closed": "closings of cases (one that was reopened is closed again)",
        "cx.case.contacted": "attempts to contact (not cases)",
        "cx.case.opened": "cases",
        "cx.case.reopened": "reopenings of cases (a case may come back more than once)",
        "cx.case.resolved": "solutions of cases (one that was reopened is solved again)",
        "cx.click.frustrated": "bursts or clicks as the collector cuts them (not sessions or visitors)",
        "cx.contact.answered": "answers by agents (a contact that is passed on has one for each agent who takes it)",
        "cx.contact.bot_ended": "conversations with a bot",
        "cx.contact.call_blocked": "tries to call (not callers)",
        "cx.contact.first_human_reply": "first replies (one for each opening, reopening and hand-over)",
        "cx.contact.handled": "contacts (once, however many agents dealt with them)",
        "cx.contact.hold_ended": "holds (not contacts)",
        "cx.contact.ivr_exited": "visits of the voice menu",
        "cx.contact.opened": "contacts (not customers and not legs)",
        "cx.contact.queue_entered": "legs: stays in a queue (a contact that is passed on has one for each)",
        "cx.contact.queue_left": "legs: stays in a queue (a contact that is passed on has one for each)",
        "cx.contact.reopened": "reopenings of matters (a matter may come back more than once)",
        "cx.contact.resolved": "solutions of matters (one that was reopened is solved again)",
        "cx.contact.ring_missed": "offers to an agent (a contact that is not taken is offered again)",
        "cx.contact.transferred": "transfers (not contacts)",
        "cx.customer.valued": "changes of what customers are worth (a customer may have several)",
        "cx.feedback.given": "texts (not customers)",
        "cx.howto.viewed": "openings of help articles (not readers)",
        "cx.kano.answered": "pairs of answers (who answers again counts again)",
        "cx.offer.accepted": "acceptances (not customers)",
        "cx.offer.shown": "offers shown (one that is shown again counts again)",
        "cx.order.delay_notified": "notices (not orders)",
        "cx.order.delivered": "deliveries (an order in several parcels has several if its sender tells them apart)",
        "cx.order.delivery_failed": "deliveries tried in vain (not orders)",
        "cx.order.delivery_overdue": "orders that fell overdue",
        "cx.order.placed": "orders (not customers and not items)",
        "cx.order.refund_completed": "refunds (an order may have several)",
        "cx.order.return_received": "returns (an order may have several)",
        "cx.order.return_requested": "returns asked for (an order may have several)",
        "cx.payment.failed": "attempts to pay (not orders)",
        "cx.payment.succeeded": "attempts to pay (not orders)",
        "cx.perf.sampled": "sampled requests and page loads (not sessions)",
        "cx.pipeline.heartbeat": "signs of life",
        "cx.review.published": "publications (a review that is edited counts again, with what it says now)",
        "cx.product.judged": "judgements of products (one a day as a rule, of the products with the clearest rise)",
        "cx.search.performed": "searches (not sessions)",
        "cx.self.assessed": "estimates (each counts, not only a team's latest)",
        "cx.sentiment.scored": "scored texts and conversations (what a second model scores counts again)",
        "cx.session.ended": "sessions (not visitors)",
        "cx.session.started": "sessions (not visitors)",
        "cx.social.mentioned": "mentions",
        "cx.store.pos_transaction": "receipts (not customers)",
        "cx.store.queue_joined": "stays in a queue",
        "cx.store.queue_left": "stays in a queue",
        "cx.store.queue_observed": "observations of a queue (not customers)",
        "cx.store.queue_served": "stays in a queue",
        "cx.store.visitor_entered": "entrances (of one person or of a group)",
        "cx.store.visitor_left": "exits (of one person or of a group)",
        "cx.survey.answered": "answers (one that a customer gives anew counts again, as the earlier one does)",
        "cx.survey.dismissed": "surveys closed",
        "cx.survey.sent": "surveys sent (not customers)",
        "cx.survey.suppressed": "surveys that were not sent",
        "cx.synthetic.checked": "checks of steps of synthetic paths",
        "cx.synthetic.finished": "runs of synthetic paths",
        "cx.ticket.opened": "requests",
        "cx.ticket.resolved": "settlings of requests (one that was reopened is settled again)",
        "cx.ticket.sla_breached": "requests that fell overdue",
        "pipeline.range": "records; where an age is measured, ranges of them that were taken in together",
        "pipeline.refused": "records",
    }
)
"""By event type."""

_NAMED: Final = 8


def counted(kpi: Kpi) -> str:
    """Say what a KPI counts, or measures on each of; empty: it is made of other KPIs."""
    if not kpi.of.events:
        return ""
    of = _units(kpi.of.events)
    if kpi.aggregator == "distinct" and kpi.of.value:
        return f"each {kpi.of.value.text} once in a window, whatever it does; n counts {of}"
    if kpi.hits is None or kpi.nested:
        return of
    hits = _units(kpi.hits.events)
    return f"{of} and {hits}" if kpi.aggregator == "level" else f"{hits} by {of}"


def _units(events: Iterable[str]) -> str:
    units = list(dict.fromkeys(UNITS.get(event, f"events {event}") for event in events))
    return ", ".join(units) if len(units) <= _NAMED else "events of all those types"
