"""Packs as Ray Tune trials, each trained by the DDP workers of a Ray Train run."""
