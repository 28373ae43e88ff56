"""
The HTTP door: touchpoint events from browsers, apps and webhooks, checked like any other and put into Kafka.

In the order of a request: `access` (who may send what), `bodies` (HTTP to records), `checks` (records to events or
refusals), `sending` (events to Kafka, confirmed), `answers` (what the sender is told), `server` (all as a service).
"""
