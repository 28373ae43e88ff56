"""From events to what they add to each series: deltas and partials."""
