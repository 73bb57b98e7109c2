"""From a backbone to a detector: models, labels, fine-tuning, average precision."""
