"""What networks of tests cost, where nobody measures it."""

from kd_models.evaluation.cost import Cost, NetworkCost


def network_cost(params: int = 49_722, flops: int = 76_416, us: float = 600.0) -> NetworkCost:
    """A network's cost whose latencies are all alike."""
    latencies = {name: us for name in NetworkCost.model_fields if name.startswith("latency_us")}
    return NetworkCost(
        params=params,
        flops=flops,
        size_bytes=4 * params,
        peak_memory_bytes=40_000_000,
        **latencies,
    )


def alone(params: int = 49_722, flops: int = 76_416, us: float = 600.0) -> Cost:
    """The cost of a student that needs no teacher."""
    cost = network_cost(params, flops, us)
    return Cost(deployed=cost, student=cost)
