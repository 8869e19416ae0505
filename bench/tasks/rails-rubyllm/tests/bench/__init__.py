"""Benchmarks of coding harnesses through the proxy, over HTTP only."""
