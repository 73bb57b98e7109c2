"""The steps by name, in order, with the time limit of each in minutes, and its share of a budget for all."""

LIMITS: dict[str, float] = {
    "correctness": 3,
    "throughput": 8,
    "quality": 8,
    "detection": 9.5,
}

# Shares of --minutes N: the first two are short on any GPU, and what they leave goes to those after them.
SHARES: dict[str, float] = {"correctness": 1.5, "throughput": 3, "quality": 7.5, "detection": 7.5}
