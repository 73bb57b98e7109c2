"""Pre-training: data loading, training loop, optimizers, schedules and collapse monitor."""
