"""ClickHouse: migrations, inserts that happen once, queries, and the proof that the stored numbers are right."""
