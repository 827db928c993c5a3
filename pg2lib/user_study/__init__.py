"""The user study of Table 2 (Ma et al. 2017, section 4.4): can people tell generated images from real ones?

`create_study` makes a study, which is a folder of images with a protocol and a database of answers. Raters take part on
the web page of ``python demo/app.py --study DIR`` or in a notebook with `widget.RaterWidget`. `results` computes the
table.
"""

from pg2lib.user_study.create import create_study, create_study_from_pairs
from pg2lib.user_study.result import StudyResult, results
from pg2lib.user_study.study import Protocol, Session, Study

__all__ = ["Protocol", "Session", "Study", "StudyResult", "create_study", "create_study_from_pairs", "results"]
