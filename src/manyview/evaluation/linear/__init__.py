"""Linear evaluation: a linear classifier trained on a frozen backbone."""
