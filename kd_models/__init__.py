"""Networks, losses, training and scoring for compact novelty detectors. PyTorch only."""
