"""What predictions are worth, and how far two are apart: pure functions over NumPy arrays."""
