"""Thin Faust agents around the pure core, in the order of the flow: ingest, merge, store."""
