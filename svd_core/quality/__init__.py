"""What a clip does, in numbers: motion, light, detail, cuts, the seam of a loop, closeness to the photo.

`measures.measure` takes frames one by one; `report.motion` is the one number a search aims at.
"""
