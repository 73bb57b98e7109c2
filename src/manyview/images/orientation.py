"""How the stored pixels of a photograph lie, by its EXIF block."""

from __future__ import annotations

from PIL import Image

TAG = 0x0112  # of EXIF, and of TIFF
_LYING = 5  # from here on, width and height are exchanged


def orientation(image: Image.Image) -> int:
    """EXIF's number from 1 to 8: 1 for upright, and where none is given, it is damaged or unknown."""
    try:
        number = int(image.getexif().get(TAG, 1))
    except Exception:  # damaged EXIF beside sound pixels
        return 1
    return number if 1 <= number <= 8 else 1


def upright(width: int, height: int, number: int) -> tuple[int, int]:
    """Width and height of the turned pixels, of those that are stored."""
    return (height, width) if number >= _LYING else (width, height)
