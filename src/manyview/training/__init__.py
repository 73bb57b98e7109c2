"""Pre-training: the loader, the step, the loop, its schedule, its monitors."""
