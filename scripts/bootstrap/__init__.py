"""Set-up of a clone: .venv, pinned packages, the engine, the demo models. Standard library only.

It runs before anything is installed, so it imports nothing of Hotseat and nothing from PyPI.
"""
