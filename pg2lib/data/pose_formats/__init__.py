"""The file formats of poses: one module per family, and what they share."""
