"""What the store knows of gaps: who said what where, what we believe, who was served and told; see `streams.gaps`."""

# ruff: noqa: S608 - statements are made of constants, and of names that are checked against them

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from streams.gaps.consistency import SaidOnChannel
from streams.gaps.informed import ImplementedFor
from streams.gaps.kano import KanoPair
from streams.gaps.perception import OwnEstimate, SaidAtPlace
from streams.gaps.promises import ServedContact
from streams.gaps.pyramid import PyramidSaying
from streams.storage.connection import FAILURES, PermanentStorageError, explain
from streams.storage.overflow import counted_events, has_set_aside

MOST_ROWS: Final = 2_000_000
"""Customers by group that one answer is made of, at most."""
PLACES: Final = ("channel", "touchpoint", "unitid", "segment", "region")
"""What answers can be told apart by."""
STRATA: Final = ("topic", "segment", "touchpoint", "region", "survey")
"""Within what channels can be compared."""

# Of a key that stands twice the last value counts, as it does for KPIs.
_SAID: Final = (
    "JSONExtract(data, 'Tuple(metric String, scale UInt16, kind String, survey_id String, topic String, object String,"
    " resolved Nullable(Bool), estimate Nullable(Float64), feature String, functional String, dysfunctional String,"
    " change String, subchannel String, reason String, outcome String, by String)') AS said"
)
_IN_SPAN: Final = "(time >= {since:DateTime64(3, 'UTC')} AND time < {until:DateTime64(3, 'UTC')})"
_SATISFIED: Final = "score >= multiIf(said.scale <= 3, said.scale, said.scale <= 7, said.scale - 1, said.scale - 2)"
_EASY: Final = "score >= 5"
_OF: Final = "type = 'cx.survey.answered' AND said.metric ="


@dataclass(frozen=True, slots=True)
class SaidKpi:
    """
    A KPI of answers that channels can be compared in.

    Attributes:
        chosen: Which events are its answers, in SQL.
        value: What one is worth, in SQL.
        low, high: Between what that lies.
        unit: Of it.
    """

    chosen: str
    value: str
    low: float
    high: float
    unit: str


SAID_KPIS: Final = {
    "csat": SaidKpi(f"{_OF} 'csat'", f"if({_SATISFIED}, 100, 0)", 0.0, 100.0, "%"),
    "ces": SaidKpi(f"{_OF} 'ces' AND said.scale = 7", f"if({_EASY}, 100, 0)", 0.0, 100.0, "%"),
    "nps": SaidKpi(
        f"{_OF} 'nps' AND said.kind IN ('', 'transactional')",
        "if(score >= 9, 100, if(score <= 6, -100, 0))",
        -100.0,
        100.0,
        "points",
    ),
}
"""By the name of the KPI, whose definition they share; a test holds the values against those of the KPI."""


class GapStore:
    """Asks the store about a span of time; synthetic events are left out, and so is who has no key."""

    def __init__(self, client: Client, since: datetime, until: datetime) -> None:
        """
        Ask about events from `since` until `until` (not included); `client` needs to read only.

        Raises:
            PermanentStorageError, UnreachableError: The store cannot be asked.
        """
        self._client, self._span = client, {"since": since, "until": until}
        try:
            self._aside = has_set_aside(client)
        except FAILURES as error:
            raise explain(error, "gaps") from error

    def known_until(self) -> datetime | None:
        """
        Return when the newest event before the end of the span happened; None: nothing is stored.

        Raises:
            PermanentStorageError, UnreachableError: The store cannot be asked.
        """
        [[n, newest]] = self._ask(
            "SELECT count(), max(time) FROM counted_events WHERE time < {until:DateTime64(3, 'UTC')}"
        )
        return newest.replace(tzinfo=UTC) if n else None

    def said_on_channels(self, kpi: SaidKpi, strata: Sequence[str]) -> list[SaidOnChannel]:
        """
        Return what customers said by channel, within strata.

        A topic is what the answer names (`topic` among its own labels), else that of the contact it is about, else its
        `object`.

        Raises:
            PermanentStorageError, UnreachableError: The store cannot be asked, or there is too much.
        """
        topic = "coalesce(nullIf(JSONExtractString(payload, 'labels', 'topic'), ''), nullIf(of.topic, ''), said.object)"
        names = {"topic": topic, "survey": "said.survey_id"}
        columns = ", ".join(f"toString({names.get(name, name)})" for name in strata)
        of = (
            ", of AS (SELECT contactid, any(said.topic) AS topic FROM counted_events"
            " WHERE startsWith(type, 'cx.contact.') AND contactid != '' AND said.topic != '' GROUP BY contactid)"
            if "topic" in strata
            else ""
        )
        rows = self._ask(
            f"SELECT channel, [{columns}] AS stratum, subject, sum({kpi.value}), count() FROM counted_events"
            f"{' LEFT JOIN of USING (contactid)' if of else ''}"
            f" WHERE {kpi.chosen} AND {_IN_SPAN} AND subject != '' AND score IS NOT NULL"
            " GROUP BY channel, stratum, subject",
            of,
        )
        return [SaidOnChannel(str(row[0]), tuple(row[1]), row[2], float(row[3]), int(row[4])) for row in rows]

    def own_estimates(self, place: str) -> list[OwnEstimate]:
        """
        Return what we believe of satisfied customers, by a place. Who believes it is the agent, else the subject.

        Raises:
            PermanentStorageError, UnreachableError: The store cannot be asked, or there is too much.
        """
        named = "if(unitid = '', said.object, unitid)" if place == "unitid" else place
        rows = self._ask(
            f"SELECT toString({named}), if(agentid = '', subject, agentid), said.estimate FROM counted_events"
            f" WHERE type = 'cx.self.assessed' AND said.metric = 'csat' AND said.estimate IS NOT NULL AND {_IN_SPAN}"
        )
        return [OwnEstimate(*row) for row in rows]

    def said_at_places(self, place: str) -> list[SaidAtPlace]:
        """Return satisfied answers and all by a place and customer. Raises as `own_estimates`."""
        rows = self._ask(
            f"SELECT toString({place}), subject, countIf({_SATISFIED}), count() FROM counted_events"
            f" WHERE {SAID_KPIS['csat'].chosen} AND {_IN_SPAN} AND subject != '' AND score IS NOT NULL"
            f" GROUP BY {place}, subject"
        )
        return [SaidAtPlace(*row) for row in rows]

    def served_contacts(self) -> list[ServedContact]:
        """
        Return contacts that asked for a person, from the first moment they did.

        They have come to a queue, met a busy line or were handed over by a bot; without any of these they count from
        their opening, unless a voice menu or a bot has ended them.

        Raises:
            PermanentStorageError, UnreachableError: The store cannot be asked, or there is too much.
        """
        asks = "type IN ('cx.contact.queue_entered', 'cx.contact.call_blocked', 'cx.contact.handed_off')"
        opens = "type IN ('cx.contact.opened', 'cx.contact.message_received')"
        answers = (
            "type IN ('cx.contact.answered', 'cx.contact.first_human_reply')"
            " OR type = 'cx.contact.queue_left' AND said.reason = 'answered'"
            " OR type = 'cx.contact.message_sent' AND said.by = 'human'"
        )
        ends = (
            "type = 'cx.contact.ivr_exited' AND said.outcome != 'queue'"
            " OR type = 'cx.contact.bot_ended' AND said.outcome != 'handed_off'"
        )
        rows = self._ask(
            f"""SELECT any(subject), toString(any(channel)), anyIf(said.subchannel, said.subchannel != '') AS way,
                minIf(toUnixTimestamp64Milli(time), {asks}), countIf({asks}), min(toUnixTimestamp64Milli(time)),
                groupArrayIf(toUnixTimestamp64Milli(time), {answers})
            FROM counted_events WHERE startsWith(type, 'cx.contact.') AND contactid != '' AND {_IN_SPAN}
            GROUP BY contactid HAVING countIf({asks}) > 0 OR countIf({opens}) > 0 AND countIf({ends}) = 0"""
        )
        found = []
        for subject, channel, way, asked_at, asked, opened_at, answered in rows:
            began = asked_at if asked else opened_at
            after = min((at for at in answered if at >= began), default=None)
            waited = None if after is None else (after - began) / 1000
            found.append(ServedContact(subject, channel, way or "phone", began // 1000, waited))
        return found

    def heard(self) -> list[tuple[str, int, int, int, int]]:
        """
        Return by touchpoint: customers there, surveys sent, answers, and what was said unasked.

        Raises:
            PermanentStorageError, UnreachableError: The store cannot be asked, or there is too much.
        """
        rows = self._ask(
            "SELECT toString(touchpoint), uniqExact(subject), countIf(type = 'cx.survey.sent'),"
            " countIf(type IN ('cx.survey.answered', 'cx.kano.answered')),"
            " countIf(type IN ('cx.feedback.given', 'cx.review.published', 'cx.social.mentioned'))"
            f" FROM counted_events WHERE touchpoint != '' AND subject != '' AND {_IN_SPAN} AND {_OF_CUSTOMERS}"
            " GROUP BY touchpoint"
        )
        return [(str(row[0]), *map(int, row[1:])) for row in rows]  # type: ignore[misc]

    def implemented(self) -> list[ImplementedFor]:
        """
        Return changes that were made for customers in the span, when each was told, and what they had said before.

        Raises:
            PermanentStorageError, UnreachableError: The store cannot be asked, or there is too much.
        """
        rows = self._ask(
            f"""SELECT made.change, made.subject, toUnixTimestamp(made.at), informed_at.at, asked.at
            FROM (
                SELECT said.change AS change, subject, min(time) AS at FROM counted_events
                WHERE type = 'cx.feedback.implemented' AND subject != '' AND {_IN_SPAN} GROUP BY change, subject
            ) AS made
            LEFT JOIN (
                SELECT said.change AS change, subject, groupArray(toUnixTimestamp(time)) AS at FROM counted_events
                WHERE type = 'cx.customer.informed' AND said.change != '' AND time < {{until:DateTime64(3, 'UTC')}}
                GROUP BY change, subject
            ) AS informed_at ON informed_at.change = made.change AND informed_at.subject = made.subject
            LEFT JOIN (
                SELECT subject, groupArray(toUnixTimestamp(time)) AS at FROM counted_events
                WHERE type IN ('cx.feedback.given', 'cx.survey.answered', 'cx.review.published')
                    AND subject IN (SELECT subject FROM counted_events WHERE type = 'cx.feedback.implemented')
                GROUP BY subject
            ) AS asked ON asked.subject = made.subject"""
        )
        return [
            ImplementedFor(
                change, subject, at, min((one for one in informed_at if one >= at), default=None),
                max((one for one in asked if one <= at), default=None),
            )
            for change, subject, at, informed_at, asked in rows
        ]  # fmt: skip

    def pyramid_sayings(self, place: str) -> list[PyramidSaying]:
        """
        Return the last that each customer said of each level, by a place; empty: everywhere.

        Raises:
            PermanentStorageError, UnreachableError: The store cannot be asked, or there is too much.
        """
        named = f"toString({place})" if place else "''"
        levels = {
            "met": ("said.resolved IS NOT NULL", "said.resolved"),
            "easy": ("said.metric = 'ces' AND said.scale = 7", _EASY),
            "enjoyed": ("said.metric = 'csat'", _SATISFIED),
        }
        columns = ", ".join(
            f"if(countIf({when}) = 0, NULL, argMaxIf(toUInt8(assumeNotNull({what})), time, {when}))"
            for when, what in levels.values()
        )
        rows = self._ask(
            f"SELECT {named} AS place, subject, {columns} FROM counted_events"
            f" WHERE type = 'cx.survey.answered' AND subject != '' AND score IS NOT NULL AND {_IN_SPAN}"
            " GROUP BY place, subject"
        )
        return [
            PyramidSaying(place, customer, *(None if one is None else bool(one) for one in said))
            for place, customer, *said in rows
        ]

    def kano_pairs(self) -> list[KanoPair]:
        """
        Return pairs of answers in the order of time.

        Raises:
            PermanentStorageError, UnreachableError: The store cannot be asked, or there is too much.
        """
        rows = self._ask(
            "SELECT said.feature, subject, said.functional, said.dysfunctional FROM counted_events"
            f" WHERE type = 'cx.kano.answered' AND subject != '' AND {_IN_SPAN} ORDER BY time, source, id"
        )
        return [KanoPair(*row) for row in rows]

    def _ask(self, sql: str, more: str = "") -> Any:
        """Ask with what all questions share; refuse an answer that memory has no room for."""
        events = counted_events(aside=self._aside, late=True)
        try:
            rows = self._client.query(
                f"WITH {_SAID}, {events}{more} {sql} LIMIT {MOST_ROWS + 1}", parameters=self._span
            ).result_rows
        except FAILURES as error:
            raise explain(error, "gaps") from error
        if len(rows) > MOST_ROWS:
            raise PermanentStorageError(
                f"an answer is made of {MOST_ROWS:,} customers by group at most: look back less far, or by fewer groups"
            )
        return rows


_OF_CUSTOMERS: Final = (
    "NOT startsWith(type, 'cx.pipeline.') AND NOT startsWith(type, 'cx.agent.') AND type NOT IN ('cx.self.assessed',"
    " 'cx.employee.feedback_given', 'cx.change.deployed', 'cx.campaign.started')"
)
