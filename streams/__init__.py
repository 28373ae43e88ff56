"""Live customer-experience KPIs from touchpoint events."""

__version__ = "0.1.0"
