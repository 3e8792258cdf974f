"""Time, brightness and colour of a finished clip, without learned weights.

`video.interpolate` changes the frame rate: grid -> cuts -> flow -> between.
`deflicker` and `color_lock` keep motion as it is.
"""
