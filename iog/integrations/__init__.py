"""Adapters for other programs, one file each. Each needs the package that it is named after."""
