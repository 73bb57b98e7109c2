"""Quality of a backbone while it trains: classifiers on its features, and label-free measures."""
