"""The event contract: what a channel may send, and what becomes of it when it may not."""
