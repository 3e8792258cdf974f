"""What a clip does, in numbers: motion of camera and objects, light, detail, cuts, the seam of a loop,
the photo.

`measures.measure` takes frames one by one; `report.motion` is the one number a search aims at.
"""
