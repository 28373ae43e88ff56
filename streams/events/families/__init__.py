"""The event types, one module per family of touchpoints."""
