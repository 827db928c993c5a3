"""Synthetic people: the data set that needs no download.

A person is a skeleton (`body`) under a skin of tubes with elliptical cross-sections (`surface`, `figure`) that bends
smoothly at the joints. Clothes are further tubes, and every texture is a function of the position on the body in the
rest pose (`clothes`). Joint angles within human limits and a perspective camera give an image through a depth buffer,
which also tells the hidden joints and the true silhouette (`render`). The background is one of six street scenes, each
with its camera, or a studio (`scenes`). Two seeds determine the person and the view: `render_person(identity, view)`.
`write_market1501` and `write_deepfashion` write data sets for the readers of the real data (`write`).
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
