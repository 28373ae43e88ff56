"""The commands of `cx`, by what they work on."""
