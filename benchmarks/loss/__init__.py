"""Memory and time of the image-aware loss, beside other libraries' losses of the same equation."""
