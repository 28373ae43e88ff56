"""The state of a merge partition: pages, windows, watermarks, and what is published of them."""
