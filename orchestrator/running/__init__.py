"""One pack on one machine: inputs, training, evaluation, checkpoints. Knows protocols, not Ray."""
