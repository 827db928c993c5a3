"""Synthetic people: the data set that needs no download.

A person is a skeleton (`body`) under a skin of tubes with elliptical sections (`surface`, `figure`), which bends
smoothly at the joints; clothes are further tubes, and every texture is a function of the place on the body in the rest
pose (`clothes`). Joint angles within human limits and a perspective camera give a picture through a depth buffer, which
also tells the hidden joints and the true silhouette (`render`). Six street cameras with a scene each, or a studio, are
the background (`scenes`). Who it is and how they are seen come from two seeds: `render_person(identity, view)`.
`write_market1501` and `write_deepfashion` put people on disk for the readers of real data (`write`).
"""

from pg2lib.data.synthetic.person import CANVAS, Look, Shot, SyntheticPerson, mask_iou, render_person
from pg2lib.data.synthetic.write import write_deepfashion, write_market1501

__all__ = [
    "CANVAS",
    "Look",
    "Shot",
    "SyntheticPerson",
    "mask_iou",
    "render_person",
    "write_deepfashion",
    "write_market1501",
]
