"""Products: which of them come back more often than they did."""
