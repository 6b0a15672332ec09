"""Inside-Outside Guidance: interactive segmentation from a box and clicks."""
