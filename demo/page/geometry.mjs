// Poses and what the pose editor does to them. Pure functions: a pose goes in, a new pose comes out.
//
// A pose is what pg2lib.Pose.to_json writes: {canvas: [height, width], keypoints: [[x, y] or null, ... 18 entries]},
// in pixels, x first; null is a missing joint.

export const JOINTS = [
  "nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
  "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
  "right eye", "left eye", "right ear", "left ear",
];

export const LIMBS = [
  [1, 2], [1, 5], [2, 3], [3, 4], [5, 6], [6, 7], [1, 8], [8, 9], [9, 10], [1, 11], [11, 12], [12, 13], [1, 0],
  [0, 14], [14, 16], [0, 15], [15, 17],
];

export const COLOURS = [
  "#ff0000", "#ff5500", "#ffaa00", "#ffff00", "#aaff00", "#55ff00", "#00ff00", "#00ff55", "#00ffaa", "#00ffff",
  "#00aaff", "#0055ff", "#0000ff", "#5500ff", "#aa00ff", "#ff00ff", "#ff00aa", "#ff0055",
];

export const NECK = 1;

// The joint that each joint hangs on; the neck is the root.
export const PARENT = [1, null, 1, 2, 3, 1, 5, 6, 1, 8, 9, 1, 11, 12, 0, 0, 14, 15];

// The joint at the end of a limb of two bones: its middle joint and the joint that the limb hangs on.
const TWO_BONES = { 4: [3, 2], 7: [6, 5], 10: [9, 8], 13: [12, 11] };

const SWAPPED = [[2, 5], [3, 6], [4, 7], [8, 11], [9, 12], [10, 13], [14, 15], [16, 17]];

export function copy(pose) {
  return { canvas: [...pose.canvas], keypoints: pose.keypoints.map((point) => point && [...point]) };
}


const minus = (a, b) => [a[0] - b[0], a[1] - b[1]];
const plus = (a, b) => [a[0] + b[0], a[1] + b[1]];
const length = (a) => Math.hypot(a[0], a[1]);

function turned(vector, angle) {
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return [cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1]];
}

/** The joints that hang on a joint, directly or not. */
export function below(joint) {
  return JOINTS.map((_, other) => other).filter((other) => {
    for (let at = PARENT[other]; at !== null; at = PARENT[at]) if (at === joint) return true;
    return false;
  });
}

/** Every joint that is present, changed by a function of its place. */
function mapped(pose, change) {
  return { canvas: [...pose.canvas], keypoints: pose.keypoints.map((point, joint) => point && change(point, joint)) };
}

export function moved(pose, [dx, dy]) {
  return mapped(pose, ([x, y]) => [x + dx, y + dy]);
}

/** Turned about a point by an angle in radians, clockwise on the screen. */
export function rotated(pose, angle, about = centre(pose)) {
  return mapped(pose, (point) => plus(about, turned(minus(point, about), angle)));
}

export function scaled(pose, factor, about = centre(pose)) {
  return mapped(pose, ([x, y]) => [about[0] + factor * (x - about[0]), about[1] + factor * (y - about[1])]);
}

/** The pose of the person in a mirror: left and right joints change places, too. */
export function mirrored(pose) {
  const flipped = mapped(pose, ([x, y]) => [pose.canvas[1] - 1 - x, y]);
  for (const [a, b] of SWAPPED) {
    [flipped.keypoints[a], flipped.keypoints[b]] = [flipped.keypoints[b], flipped.keypoints[a]];
  }
  return flipped;
}

/** The middle of the box about the joints that are present. */
export function centre(pose) {
  const present = pose.keypoints.filter(Boolean);
  if (!present.length) return [pose.canvas[1] / 2, pose.canvas[0] / 2];
  const [x, y] = [0, 1].map((axis) => present.map((point) => point[axis]));
  return [(Math.min(...x) + Math.max(...x)) / 2, (Math.min(...y) + Math.max(...y)) / 2];
}

export function resized(pose, [height, width]) {
  const [sy, sx] = [height / pose.canvas[0], width / pose.canvas[1]];
  const points = mapped(pose, ([x, y]) => [(x + 0.5) * sx - 0.5, (y + 0.5) * sy - 0.5]);
  return { ...points, canvas: [height, width] };
}

/** A pose on the canvas of another, as large and at the same place: their boxes have one height and one centre. */
export function fitted(pose, other) {
  const [size, wanted] = [pose, other].map((each) => {
    const rows = each.keypoints.filter(Boolean).map((point) => point[1]);
    return Math.max(...rows) - Math.min(...rows);
  });
  const factor = size > 0 && wanted > 0 ? wanted / size : 1;
  const [from, to] = [centre(pose), centre(other)];
  return { ...moved(scaled(pose, factor, from), minus(to, from)), canvas: [...other.canvas] };
}

/** The part of a pose's canvas around its joints, square where the canvas allows: left, top, width and height. */
export function closeUp(pose, room = 0.5) {
  const [height, width] = pose.canvas;
  const points = pose.keypoints.filter(Boolean);
  const [x, y] = centre(pose);
  const half = (0.5 + room) * Math.max(1, ...[0, 1].map((axis) => {
    const values = points.map((point) => point[axis]);
    return Math.max(...values) - Math.min(...values);
  }));
  const [left, top] = [Math.max(0, Math.round(x - half)), Math.max(0, Math.round(y - half))];
  return [left, top, Math.min(width, Math.round(x + half)) - left, Math.min(height, Math.round(y + half)) - top];
}

/**
 * A joint dragged to a place.
 *
 * With `keepLengths` limbs turn and do not stretch: a hand or foot takes elbow or knee along, an elbow takes the hand
 * along, the neck takes everybody along. Without it the joint moves alone.
 */
export function dragged(pose, joint, place, keepLengths) {
  const next = copy(pose);
  const [points, from] = [next.keypoints, pose.keypoints[joint]];
  if (!keepLengths || !from) {
    points[joint] = [...place];
    return next;
  }
  if (joint === NECK || PARENT[joint] === null || !points[PARENT[joint]]) {
    const shift = minus(place, from);
    for (const other of [joint, ...below(joint)]) if (points[other]) points[other] = plus(points[other], shift);
    return next;
  }
  if (joint in TWO_BONES && TWO_BONES[joint].every((other) => points[other])) {
    const [middle, root] = TWO_BONES[joint];
    [points[middle], points[joint]] = reach(points[root], points[middle], points[joint], place);
    return next;
  }
  const parent = points[PARENT[joint]];
  const [before, after] = [minus(from, parent), minus(place, parent)];
  if (!length(before) || !length(after)) return next;
  const end = plus(parent, [after[0], after[1]].map((value) => value * length(before) / length(after)));
  const angle = Math.atan2(after[1], after[0]) - Math.atan2(before[1], before[0]);
  // The head turns as a whole; what hangs on other joints keeps its direction.
  for (const other of below(joint)) {
    if (points[other]) {
      const arm = minus(pose.keypoints[other], from);
      points[other] = plus(end, joint === 0 ? turned(arm, angle) : arm);
    }
  }
  points[joint] = end;
  return next;
}

/** Middle and end of a limb of two bones that reaches for a place; the middle bends to the side that it bends to now. */
export function reach(root, middle, end, place) {
  const [upper, lower] = [length(minus(middle, root)), length(minus(end, middle))];
  const towards = minus(place, root);
  const [far, near] = [upper + lower, Math.abs(upper - lower)];
  const distance = Math.min(Math.max(length(towards), near + 1e-6), far - 1e-6 * far);
  const direction = length(towards) ? towards.map((value) => value / length(towards)) : [0, 1];
  const arm = minus(end, root);
  const side = arm[0] * (middle[1] - root[1]) - arm[1] * (middle[0] - root[0]) < 0 ? -1 : 1;
  const along = upper ? (distance ** 2 + upper ** 2 - lower ** 2) / (2 * distance) : 0;
  const across = side * Math.sqrt(Math.max(0, upper ** 2 - along ** 2));
  const bend = [
    root[0] + along * direction[0] - across * direction[1],
    root[1] + along * direction[1] + across * direction[0],
  ];
  return [bend, plus(root, direction.map((value) => value * distance))];
}

export function hidden(pose, joint) {
  const next = copy(pose);
  next.keypoints[joint] = null;
  return next;
}

/**
 * A missing joint put back where a complete pose has it, relative to the nearest joint above it that is present.
 */
export function restored(pose, joint, complete) {
  const next = copy(pose);
  const whole = resized(complete, pose.canvas);
  let at = PARENT[joint];
  while (at !== null && !next.keypoints[at]) at = PARENT[at];
  const shift = at === null ? [0, 0] : minus(next.keypoints[at], whole.keypoints[at]);
  next.keypoints[joint] = plus(whole.keypoints[joint], shift);
  return next;
}

/** To a hundredth of a pixel, as it is written to files. */
export function rounded(pose) {
  return mapped(pose, (point) => point.map((value) => Math.round(100 * value) / 100));
}

/** One row of the keypoint CSV of the field: name, rows (y), columns (x), -1 where a joint is missing. */
export function csv(pose, name = "pose.jpg") {
  const list = (axis) => `[${pose.keypoints.map((point) => (point ? Math.round(point[axis]) : -1)).join(", ")}]`;
  return `name:keypoints_y:keypoints_x\n${name}:${list(1)}:${list(0)}\n`;
}

/** What was, is and will be again. */
export class History {
  constructor(first) {
    this.states = [first];
    this.at = 0;
  }

  get present() {
    return this.states[this.at];
  }

  add(state) {
    if (JSON.stringify(state) === JSON.stringify(this.present)) return;
    this.states = [...this.states.slice(Math.max(0, this.at - 199), this.at + 1), state];
    this.at = this.states.length - 1;
  }

  undo() {
    this.at = Math.max(0, this.at - 1);
    return this.present;
  }

  redo() {
    this.at = Math.min(this.states.length - 1, this.at + 1);
    return this.present;
  }
}
