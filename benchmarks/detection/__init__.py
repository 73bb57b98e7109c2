"""Detection: the same detector on several backbones, and the pace of its loop."""
