"""Who may be asked: surveys that do not tire customers, what answers stand for, how keys of a telephone are read."""
