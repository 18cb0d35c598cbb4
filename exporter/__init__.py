"""Export a trained classifier to ONNX and prove that it gives the same results."""
