"""The catalogue: definitions read, checked and shown."""
