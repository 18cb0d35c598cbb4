"""PyTorch to ONNX: the graph, reduced precisions, and the files that hold them."""
