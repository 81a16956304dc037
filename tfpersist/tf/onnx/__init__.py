"""Convert frozen graphs to ONNX."""
