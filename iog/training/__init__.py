"""Training of the networks: settings, examples, the loop."""
