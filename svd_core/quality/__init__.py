"""What a clip does, in numbers: motion of camera and objects, light, detail, cuts, the seam of a loop, the photo.

`measure` takes frames one by one; `motion` is the one number a search aims at.
"""

from .measures import measure
from .report import motion

__all__ = ["measure", "motion"]
