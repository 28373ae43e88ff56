"""How touchpoint events come to Kafka: the client of the channel teams, the simulator, readers of data sets."""
