"""The steps by name, in order, with the time limit of each in minutes: half an hour in all."""

LIMITS: dict[str, float] = {
    "correctness": 3,
    "throughput": 8,
    "quality": 8,
    "detection": 9.5,
}
