"""``python -m infra.local up | down | credentials``: the stack of this machine.

``credentials`` tells the file of what clients need in their environment.
"""

import os
import sys
from pathlib import Path

from infra.local.services import ServiceError
from infra.local.stack import Stack
from orchestrator.console import console


def stack_folder() -> Path:
    """Return ``$KD_STACK``, or where a user's stack is otherwise.

    root's home is closed to the user that runs PostgreSQL, so root's stack is not there.
    """
    if configured := os.environ.get("KD_STACK"):
        return Path(configured).expanduser().absolute()
    return Path("/var/lib/kd-stack") if os.getuid() == 0 else Path.home() / "kd-stack"


def main(arguments: list[str]) -> int:
    """Start or stop it, and return an exit status."""
    say, stack = console(stderr=True, soft_wrap=True).print, Stack(stack_folder())
    if arguments == ["credentials"]:
        if not stack.credentials.exists():
            say("error: it was never started; make stack starts it")
            return 1
        console(soft_wrap=True).print(str(stack.credentials))
        return 0
    commands = {"up": stack.up, "down": stack.down}
    if len(arguments) != 1 or arguments[0] not in commands:
        say(__doc__)
        return 2
    try:
        commands[arguments[0]](say)
    except ServiceError as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
