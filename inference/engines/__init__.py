"""Engines: what a worker process owns. llama.py is the only module that may import llama_cpp."""
