"""The JSON interface: requests are read, answers are written."""
