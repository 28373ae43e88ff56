"""Alerts: rules, detectors, the state machine and explanations; pure, event time only."""
