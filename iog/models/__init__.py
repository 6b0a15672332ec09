"""What a model is, where its weights lie, and how a file of weights is read and written."""
