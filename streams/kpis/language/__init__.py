"""What a KPI definition can say: YAML blocks, fields, expressions, time steps, names of series."""
