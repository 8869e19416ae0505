"""What the scripts/bench-* share: servers to measure, clients that measure them, figures that say so."""
