"""People in photos: their poses, found by MediaPipe's BlazePose."""

from __future__ import annotations

from pg2lib.detect.person import Detection, MediaPipeDetector, PoseDetector, detect_pose, find_people

__all__ = ["Detection", "MediaPipeDetector", "PoseDetector", "detect_pose", "find_people"]
