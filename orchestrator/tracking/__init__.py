"""MLflow: runs written from results, and the registry of chosen students."""
