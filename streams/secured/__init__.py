"""Secured connections: certificates, tokens and passwords from the settings, and their failures in plain words."""
