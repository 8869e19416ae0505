"""Upstreams: the things that answer a ChatRequest."""
