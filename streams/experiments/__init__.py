"""Experiments: whether customers were shared out as planned, and what the variants change in a KPI."""
