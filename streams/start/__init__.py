"""The look before a worker starts: what is stored and what Kafka holds are compared, and what is lost is restored."""
