"""Pre-training: where a step's time goes, loading, starting, memory, processes, large collections."""
