"""Controls: functions from denoise to denoise, conditioning to conditioning, or frames to frames."""
