"""Ways to get a detector: a folder for each method, the contract, and the registry."""
