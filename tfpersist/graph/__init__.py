"""Passes over GraphDef skeletons: pure, without TensorFlow, payloads untouched."""
