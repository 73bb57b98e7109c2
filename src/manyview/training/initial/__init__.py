"""The network that a run starts with: built from its configuration, and its initial weights from a checkpoint."""
