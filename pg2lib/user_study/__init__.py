"""The user study of Table 2 (Ma et al. 2017, section 4.4): can people tell generated images from real ones?

A study is a folder (`study`): images under names that say nothing, the protocol, and a database of answers. Both the
page of ``python demo/app.py --study DIR`` and the widget for notebooks (`widget`) show it; `result` makes the table.
"""

from pg2lib.user_study.create import create_study, create_study_from_pairs
from pg2lib.user_study.result import StudyResult, results
from pg2lib.user_study.study import Protocol, Session, Study

__all__ = ["Protocol", "Session", "Study", "StudyResult", "create_study", "create_study_from_pairs", "results"]
