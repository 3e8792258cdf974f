"""Controls: functions from denoise to denoise, from conditioning to conditioning,
or from frames to frames.
"""
