"""Feature extraction with a frozen backbone."""
