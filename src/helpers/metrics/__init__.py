"""What predictions are worth, and how far two of them are apart: pure functions over NumPy arrays."""
