"""People in photos: their poses, found with MediaPipe's BlazePose."""

from __future__ import annotations

from pg2lib.detect.blazepose import MediaPipeDetector, detect_pose, find_people, suggested_turn
from pg2lib.detect.person import Detection, PoseDetector

__all__ = ["Detection", "MediaPipeDetector", "PoseDetector", "detect_pose", "find_people", "suggested_turn"]
