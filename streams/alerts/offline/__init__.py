"""Rules without a running pipeline: tests, backtests and tuning."""
