"""The coding harnesses as data: what to write, what to start, and how to read what they say."""
