"""Pictures in files, by a package that only they need."""

from typing import Any


class PictureError(Exception):
    """The picture cannot be drawn."""


def new_figure(width: float, height: float) -> Any:
    """
    Return an empty figure of so many inches.

    Raises:
        PictureError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise PictureError("pictures need matplotlib: pip install 'cx-streams[pictures]'") from None
    return Figure(figsize=(width, height), layout="constrained")
