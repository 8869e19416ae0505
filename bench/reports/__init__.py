"""What a job showed, as text: recomputed from its results every time, results in, text out."""
