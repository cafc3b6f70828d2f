"""Evaluation of detectors: scores, metrics, protocols, localisation and cost."""
