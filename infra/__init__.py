"""Where the orchestrator runs: this machine, AWS, Kubernetes, Slurm."""
