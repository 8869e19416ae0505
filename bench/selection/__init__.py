"""Choosing among what several configurations made of one task: prune, cluster, compare, and say how sure."""
