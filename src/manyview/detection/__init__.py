"""Fine-tuning of detectors on a pre-trained backbone: models, data, training, average precision."""
