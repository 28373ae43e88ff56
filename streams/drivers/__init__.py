"""Drivers: what customers had lived through where they are less satisfied, and what less of it would go with."""
