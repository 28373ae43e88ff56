"""How touchpoint events come to Kafka: the client of the channel teams, the simulator, readers of data sets."""

from streams.producers.client import TouchpointProducer

__all__ = ["TouchpointProducer"]
