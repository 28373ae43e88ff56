"""Wiring: settings → Faust application → lanes → agents. One screen, no logic."""

import ssl
from pathlib import Path
from typing import Any

import faust

from streams.agents.ingest import Ingest
from streams.agents.merge import Merge
from streams.agents.store import Store
from streams.engine.app import BatchApp
from streams.engine.names import Topics
from streams.kpis.catalogue import Catalogue
from streams.settings import Settings, kpi_paths
from streams.storage.writer import Writer


def build(settings: Settings, writer: Writer) -> BatchApp:
    """
    Build the application with all agents; nothing is connected yet.

    Raises:
        CatalogueError: a KPI definition cannot be right.
        ConfigError: a password file cannot be read.
    """
    app = BatchApp(
        settings.app_id,
        brokers=settings.kafka,
        partitions=settings.partitions,
        topic_replication_factor=settings.replication,
        broker_session_timeout=settings.broker_session_s,
        datadir=str(_faust_folder(settings)),
        **_membership(settings),
        **_security(settings),
    )
    app.max_batch_records = settings.max_batch
    topics = Topics(settings.topic_prefix)
    catalogue = Catalogue.load(kpi_paths(settings))
    Ingest(app, settings, topics, catalogue)
    Merge(app, settings, topics, catalogue)
    Store(app, settings, topics, writer)
    return app


def _membership(settings: Settings) -> dict[str, Any]:
    return {"consumer_group_instance_id": settings.instance} if settings.instance else {}


def _security(settings: Settings) -> dict[str, Any]:
    if settings.kafka_security == "PLAINTEXT":
        return {}
    context = None
    if settings.kafka_security.endswith("SSL"):
        context = ssl.create_default_context(cafile=settings.kafka_ca_file or None)
    if settings.kafka_security == "SSL":
        return {"broker_credentials": faust.SSLCredentials(context)}
    return {
        "broker_credentials": faust.SASLCredentials(
            username=settings.kafka_user,
            password=settings.kafka_password(),
            mechanism=settings.kafka_sasl_mechanism,
            ssl_context=context,
        )
    }


def _faust_folder(settings: Settings) -> Path:
    folder = Path(settings.data_dir) / "faust"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
