"""``ray start`` for nodes that listen on loopback alone.

Ray takes 127.0.0.1 as a node's address for a mistake, and puts the machine's address in its place,
where others can reach it. It does not where it believes that clusters of several nodes are not
supported, as on Windows; but then it lets no second node join.
"""

import os

from ray._private import services
from ray.scripts.scripts import main

LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""what processes need in their environment that reach a node on loopback"""

if __name__ == "__main__":
    services.get_node_ip_address = lambda address=None: "127.0.0.1"
    os.environ.update(LOOPBACK)  # for the processes that the node starts
    os.environ.pop("RAY_ADDRESS", None)  # of another cluster
    main()
