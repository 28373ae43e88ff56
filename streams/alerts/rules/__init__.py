"""Alert rules: read from YAML, checked, completed by defaults."""
