"""Wiring: settings → Faust application → lanes → agents. One screen, no logic."""

import logging
import sys

import faust
from rich.logging import RichHandler

from streams import metrics
from streams.agents.ingest import Ingest
from streams.agents.merge import Merge
from streams.agents.store import Store
from streams.agents.topics import Topics
from streams.engine.app import BatchApp
from streams.engine.topics import check_topics, topic_plan
from streams.engine.watchdog import Watchdog
from streams.kpis.catalogue import Catalogue
from streams.settings import ConfigError, Settings, kafka_security, kpi_paths
from streams.storage.writer import Writer


def build(settings: Settings) -> BatchApp:
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
        **kafka_security(settings),
    )
    topics = Topics(settings.topic_prefix)
    catalogue = Catalogue.load(kpi_paths(settings))
    Ingest(app, settings, topics, catalogue)
    Merge(app, settings, topics, catalogue)
    Store(app, settings, topics)
    return app
