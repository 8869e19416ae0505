"""GGUF engines in worker processes, and who is resident in VRAM, and when."""
