"""One HTTP surface in front of local and remote models."""
