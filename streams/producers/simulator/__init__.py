"""A simulated company: customers, journeys and troubles, told as events."""
