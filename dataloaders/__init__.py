"""Images, masks and the geometry between them, in NumPy; never a network."""
