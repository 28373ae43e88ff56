"""What people read, in English and in Persian: words, names, numbers, moments."""
