"""Wiring: settings → Faust application → lanes → agents. One screen, no logic."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import faust
from faust.auth import OAuthCredentials

from streams.agents.cases import Cases
from streams.agents.clocks import References
from streams.agents.enrich import Enricher
from streams.agents.forgetting import ForgottenPeople
from streams.agents.ingest import Ingest
from streams.agents.judge import Judges
from streams.agents.merge import Merge
from streams.agents.notify import Notify
from streams.agents.progress import DerivedProgress
from streams.agents.relate import Relate
from streams.agents.seasonal import SeasonalBaselines
from streams.agents.store import StoreStage
from streams.alerts.rules.parsing import load_rules
from streams.alerts.rules.rules import RuleBook
from streams.definitions import case_rules_of, live_relations_of, live_survey_rules_of
from streams.delivery.alertmanager import Alertmanagers
from streams.delivery.endpoint import read_addresses
from streams.engine.app import BatchApp
from streams.engine.names import Topics
from streams.events.clock import Clock
from streams.kpis.catalogue.catalogue import Catalogue
from streams.loop.definition import CaseRules
from streams.privacy.records import Protection
from streams.secured.aio import AsyncProvider
from streams.secured.kafka import kafka_client_options
from streams.secured.tokens import Tokens
from streams.secured.web import ReceiverAccess
from streams.settings import Settings, rule_paths, window_names
from streams.storage.connection import address_of
from streams.storage.writer import Writer


def build(settings: Settings, writer: Writer, catalogue: Catalogue, protection: Protection | None = None) -> BatchApp:
    """
    Build the application with all agents; nothing is connected yet. Without `protection` personal data stays in clear.

    Raises:
        CatalogueError: a relation, a rule for cases or an alert rule cannot be right.
        AddressError: an address of Alertmanager or of a webhook cannot be right.
        ConfigError: a password file cannot be read.
    """
    app = BatchApp(
        settings.app_id,
        brokers=settings.kafka,
        partitions=settings.partitions,
        topic_replication_factor=settings.replication,
        broker_session_timeout=settings.broker_session_s,
        datadir=str(_faust_folder(settings)),
        sole=settings.sole_worker,
        **_membership(settings),
        **_security(settings),
    )
    app.max_batch_records = settings.max_batch
    topics = Topics(settings.topic_prefix)
    relations, progress = live_relations_of(settings), DerivedProgress()
    case_rules, survey_rules = case_rules_of(settings), live_survey_rules_of(settings)
    rules = replace(load_rules(rule_paths(settings), catalogue, windows=window_names(settings)), zone=settings.zone)
    clock = Clock(settings.clock_limit_s, awaited=True)
    references = References(clock, address_of(settings))
    app.on_broker_time = references.broker_said
    app.task(references.keep_comparing)
    if protection:
        app.task(ForgottenPeople(address_of(settings), protection.forgotten).keep_looking)
    Ingest(app, settings, topics, catalogue, clock, relations, progress, protection, case_rules, survey_rules)
    if relations:
        Relate(app, settings, topics, relations, progress)
    if case_rules or survey_rules:
        forgotten = protection.forgotten if protection else None
        Cases(app, settings, topics, case_rules or CaseRules({}), forgotten, survey_rules)
    Merge(app, settings, topics, catalogue, _judges(app, settings, topics, catalogue, rules) if len(rules) else None)
    StoreStage(app, settings, topics, writer)
    Notify(app, settings, topics)
    return app


def _judges(app: BatchApp, settings: Settings, topics: Topics, catalogue: Catalogue, rules: RuleBook) -> Judges:
    store = address_of(settings)
    access = ReceiverAccess.of("alertmanager", settings)
    urls = read_addresses("alertmanagers", settings.alertmanagers, encrypted=access.secret)
    alertmanagers = Alertmanagers(urls, resend_s=settings.alert_resend_s, access=access, may_send=app.may_tell)
    app.task(alertmanagers.serve)
    enricher = Enricher(
        store,
        catalogue,
        public_url=settings.public_url,
        board_url=settings.board_url,
        timeout_s=settings.alert_words_s,
    )
    baselines = SeasonalBaselines(store, rules)
    app.task(baselines.keep_learning)
    return Judges(settings, topics, rules, enricher, alertmanagers, baselines)


def _membership(settings: Settings) -> dict[str, Any]:
    return {"consumer_group_instance_id": settings.instance} if settings.instance else {}


def _security(settings: Settings) -> dict[str, Any]:
    options = kafka_client_options(settings)
    context = options.get("ssl_context")
    if settings.kafka_security == "PLAINTEXT":
        return {}
    if settings.kafka_security == "SSL":
        return {"broker_credentials": faust.SSLCredentials(context)}
    if settings.kafka_sasl_mechanism == "OAUTHBEARER":
        tokens = AsyncProvider(Tokens(settings))
        return {"broker_credentials": OAuthCredentials(oauth_cb=tokens, ssl_context=context)}
    return {
        "broker_credentials": faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=settings.kafka_sasl_mechanism,
            ssl_context=context,
        )
    }


def _faust_folder(settings: Settings) -> Path:
    folder = Path(settings.data_dir) / "faust"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
