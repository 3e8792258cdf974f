"""Time, brightness and colour of a finished clip, without learned weights.

`interpolate` changes the frame rate: grid -> cuts -> flow -> between. `deflicker` and `lock_color` keep motion as
it is.
"""

from .between import by_flow, crossfade
from .color_lock import lock_color
from .deflicker import deflicker
from .video import interpolate

__all__ = ["by_flow", "crossfade", "deflicker", "interpolate", "lock_color"]
