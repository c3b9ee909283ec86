"""What somebody brings: a table of their own (`start`), a trained model of their own (`model`)."""
