"""The environment of a Ray of our own on one machine. Imports no Ray: it must come first."""

import os
import secrets


def prepare() -> None:
    """Set what a local Ray reads from the environment, unless it is set already.

    Ray reads most of it when it is imported, so call this before.
    """
    # Ray would listen to all the network. As on systems where it allows no second node, it listens
    # on loopback alone.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    # Ray would leave a token in the home folder, and every later `ray start` would then want it
    # of clients that do not look for it. This cluster is closed too, and leaves nothing behind.
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    # Nothing preempts this machine; each of these would be one more process for every trial.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")
