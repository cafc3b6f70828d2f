"""The services of a cluster on one machine, without containers."""
