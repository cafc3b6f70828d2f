"""Networks: plain single-lane PyTorch modules; widths and channels are arguments."""
