"""Wire dialects: pure translations between HTTP bodies and inference.chat. They do not import each other."""
