"""Synthetic journeys: scripted paths, what is sent of them, and whether all that was expected came of it."""
