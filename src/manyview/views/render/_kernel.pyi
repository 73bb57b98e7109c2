import numpy as np

def render(
    image: np.ndarray,
    width: int,
    height: int,
    numbers: np.ndarray,
    strengths: np.ndarray,
    kernels: np.ndarray,
    views: np.ndarray,
    count: int,
    size: int,
    taps: int,
    augment: bool,
    /,
) -> None: ...
