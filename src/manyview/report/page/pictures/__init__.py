"""Pictures on the page: views, dense features, neighbors and detections, small enough to stand within it."""
