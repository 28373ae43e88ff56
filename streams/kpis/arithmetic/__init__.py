"""Numbers alone: accumulators, sketches, intervals and the distributions behind them."""
