"""Gaps: between channels, between what is claimed and done, believed and found, said to us and answered by us."""
