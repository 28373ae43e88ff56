"""What happens between the events of one customer: the language, its machines, and timelines that test both."""
