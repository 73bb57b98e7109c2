"""The steps by name, in their order, with the minutes that each is given: half an hour in all."""

LIMITS: dict[str, float] = {
    "correctness": 3,
    "throughput": 8,
    "quality": 8,
    "detection": 9.5,
}
