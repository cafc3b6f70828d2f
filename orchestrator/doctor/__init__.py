"""What can be known before a sweep is run: its places, its services, its machines, and its size."""
