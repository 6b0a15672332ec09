"""What runs a network: torch, or OpenVINO with an exported model."""
