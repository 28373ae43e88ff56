"""Personal data: found in text, masked, and replaced by pseudonyms; pure."""
