"""What a detector is worth: scores, metrics, protocols, localisation and cost."""
