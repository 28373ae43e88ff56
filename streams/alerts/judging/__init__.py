"""Rules on closed minutes: the judge, its state machines, and what holds an alert back."""
