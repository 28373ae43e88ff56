"""The closed loop: cases about unhappy customers, from the fact that opens one to the outcome that closes it."""
