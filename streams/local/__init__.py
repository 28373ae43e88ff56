"""Everything on one machine: the embedded broker and ClickHouse, and their supervision."""
