"""Lanes: n trainings of one shape, run as one.

A student of 0.08 MFLOPs cannot keep a core busy: a step of it alone is mostly overhead. So the
tensors of n same-shaped networks are stacked, lanes first, and the code of one runs for all of them
at once (``torch.func.vmap``). Networks, objectives and scorers stay plain code for a single
network. Every learner's own networks become views of their lane, so that whatever reads them (a
state dict, a scorer) needs no change. A single learner runs directly, without vmap.

Nothing here adds over lanes but the losses, whose sum gives every lane its own gradient. So a
lane's result depends on the other lanes only by rounding (kernels may be chosen by size), and a
lane that is no longer finite spoils no other.
"""

from kd_models.training.lanes.adam import LaneAdam
from kd_models.training.lanes.lanes import Lanes
from kd_models.training.lanes.stacking import gather

__all__ = ["LaneAdam", "Lanes", "gather"]
