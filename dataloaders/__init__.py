"""Images, masks and the geometry between them, in NumPy; never a network."""


class DatasetError(RuntimeError):
    """A data set is missing, incomplete or not of the expected form; one clear sentence."""
