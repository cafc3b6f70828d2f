"""Where packs of tests run."""

from typing import Any

from kd_models.data import ImageSet
from orchestrator.running.checkpoints import Checkpoints
from orchestrator.running.context import RunContext
from orchestrator.store.stages import Store


def context_in(store: Store, images: ImageSet, **more: Any) -> RunContext:
    """A context on one dataset, with checkpoints beside the stages of a store."""
    return RunContext(store, Checkpoints(store.objects), lambda name: images, **more)
