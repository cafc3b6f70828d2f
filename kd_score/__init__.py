"""Scores images with a downloaded detector: ONNX Runtime, NumPy and Pillow, no PyTorch."""
