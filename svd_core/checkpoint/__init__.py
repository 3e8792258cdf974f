"""Files: what a checkpoint holds, under which names, whether it is whole,
and how it is loaded and written.
"""
