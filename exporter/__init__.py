"""Export a trained classifier to ONNX and prove that it says the same."""
