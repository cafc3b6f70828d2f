"""Detectors as files that run without PyTorch: ONNX in single precision and in int8."""
