"""What a model is, where its weights are, how a file of weights is read and written."""
