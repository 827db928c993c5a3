// Run with: node --test tests/page/
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import * as geometry from "../../demo/page/geometry.mjs";

const presets = JSON.parse(readFileSync(new URL("../../pg2lib/presets.json", import.meta.url), "utf8"));
const front = presets["standing, front"];
const distance = (pose, a, b) => Math.hypot(...[0, 1].map((axis) => pose.keypoints[a][axis] - pose.keypoints[b][axis]));

function assertClose(actual, expected, tolerance = 1e-6) {
  actual.keypoints.forEach((point, joint) => {
    const other = expected.keypoints[joint];
    assert.equal(point === null, other === null, geometry.JOINTS[joint]);
    if (point) point.forEach((value, axis) => assert.ok(Math.abs(value - other[axis]) < tolerance, geometry.JOINTS[joint]));
  });
}

function assertLengths(pose, expected) {
  for (const [a, b] of geometry.LIMBS) {
    assert.ok(Math.abs(distance(pose, a, b) - distance(expected, a, b)) < 1e-3, `${geometry.JOINTS[a]} to ${geometry.JOINTS[b]}`);
  }
}

test("a mirror shows the same person twice over", () => {
  assertClose(geometry.mirrored(geometry.mirrored(front)), front);
  assert.deepEqual(geometry.mirrored(front).keypoints[4], [63 - front.keypoints[7][0], front.keypoints[7][1]]);
});

test("limbs keep their lengths while a joint is dragged", () => {
  for (let joint = 0; joint < 18; joint += 1) {
    for (const place of [[5, 5], [60, 120], [31, 64], [-20, 40]]) {
      assertLengths(geometry.dragged(front, joint, place, true), front);
    }
  }
});

test("a hand reaches for the pointer, and the elbow stays on its side", () => {
  const place = [20, 50];
  const next = geometry.dragged(front, 4, place, true);
  next.keypoints[4].forEach((value, axis) => assert.ok(Math.abs(value - place[axis]) < 1e-6));
  const side = (pose) => {
    const [shoulder, elbow, wrist] = [2, 3, 4].map((joint) => pose.keypoints[joint]);
    return Math.sign((wrist[0] - shoulder[0]) * (elbow[1] - shoulder[1]) - (wrist[1] - shoulder[1]) * (elbow[0] - shoulder[0]));
  };
  assert.equal(side(next), side(front));
  [0, 1, 2, 5, 6, 7, 8, 9, 10].forEach((joint) => assert.deepEqual(next.keypoints[joint], front.keypoints[joint]));
});

test("a hand that is dragged too far stretches the arm towards the pointer", () => {
  const next = geometry.dragged(front, 4, [17.5, -500], true);
  const [shoulder, wrist] = [next.keypoints[2], next.keypoints[4]];
  assert.ok(Math.abs(wrist[0] - shoulder[0]) < 1e-3 && wrist[1] < shoulder[1]);
});

test("without kept lengths a joint moves alone", () => {
  const next = geometry.dragged(front, 3, [1, 2], false);
  assert.deepEqual(next.keypoints[3], [1, 2]);
  assert.deepEqual(next.keypoints[4], front.keypoints[4]);
});

test("the neck takes the whole person along", () => {
  const next = geometry.dragged(front, 1, [41.5, 20], true);
  assertClose(next, geometry.moved(front, [10, -5]));
});

test("a turn there and back, a size there and back", () => {
  assertClose(geometry.rotated(geometry.rotated(front, 0.7, [3, 4]), -0.7, [3, 4]), front);
  assertClose(geometry.scaled(geometry.scaled(front, 2, [3, 4]), 0.5, [3, 4]), front);
  const quarter = geometry.rotated({ canvas: [10, 10], keypoints: [[1, 0], ...Array(17).fill(null)] }, Math.PI / 2, [0, 0]);
  assert.ok(Math.abs(quarter.keypoints[0][0]) < 1e-9 && Math.abs(quarter.keypoints[0][1] - 1) < 1e-9);
});

test("a hidden joint comes back beside the joint it hangs on", () => {
  const raised = geometry.dragged(front, 4, [10, 10], true);
  const without = geometry.hidden(raised, 4);
  assert.equal(without.keypoints[4], null);
  const back = geometry.restored(without, 4, front);
  const expected = [0, 1].map((axis) => raised.keypoints[3][axis] + front.keypoints[4][axis] - front.keypoints[3][axis]);
  back.keypoints[4].forEach((value, axis) => assert.ok(Math.abs(value - expected[axis]) < 1e-6));
});

test("dragging with a missing middle joint or parent still works", () => {
  const noElbow = geometry.hidden(front, 3);
  assert.deepEqual(geometry.dragged(noElbow, 4, [8, 20], true).keypoints[3], null);
  assert.deepEqual(geometry.dragged(noElbow, 3, [8, 20], true).keypoints[3], [8, 20]);
  const noNeck = geometry.hidden(front, 1);
  assert.deepEqual(geometry.dragged(noNeck, 2, [20, 30], true).keypoints[2], [20, 30]);
});

test("resizing keeps pixel areas: a centre c becomes (c + 0.5) s - 0.5", () => {
  const large = geometry.resized(front, [256, 128]);
  assert.deepEqual(large.canvas, [256, 128]);
  assert.deepEqual(large.keypoints[0], [(31.5 + 0.5) * 2 - 0.5, (12.2 + 0.5) * 2 - 0.5]);
});

test("the CSV row has rows, then columns, and -1 for a missing joint", () => {
  const [header, row] = geometry.csv(geometry.hidden(front, 0), "a.jpg").split("\n");
  assert.equal(header, "name:keypoints_y:keypoints_x");
  const [name, y, x] = row.split(":");
  assert.equal(name, "a.jpg");
  assert.deepEqual([JSON.parse(y)[0], JSON.parse(x)[0]], [-1, -1]);
  assert.deepEqual([JSON.parse(y)[1], JSON.parse(x)[1]], [25, 32]);
});

test("undo and redo walk through what was done, and a new change forgets what was undone", () => {
  const history = new geometry.History("a");
  ["b", "c"].forEach((state) => history.add(state));
  assert.equal(history.undo(), "b");
  assert.equal(history.redo(), "c");
  history.undo();
  history.add("d");
  assert.equal(history.redo(), "d");
  assert.deepEqual([history.undo(), history.undo(), history.undo()], ["b", "a", "a"]);
});

test("a pose laid over another has its canvas, height and centre, and keeps its shape", () => {
  const other = { ...geometry.moved(geometry.scaled(front, 2.5), [40, 9]), canvas: [400, 600] };
  const laid = geometry.fitted(presets.sitting, other);
  assert.deepEqual(laid.canvas, [400, 600]);
  geometry.centre(laid).forEach((value, axis) => assert.ok(Math.abs(value - geometry.centre(other)[axis]) < 1e-9));
  const factor = distance(laid, 1, 8) / distance(presets.sitting, 1, 8);
  assert.ok(Math.abs(distance(laid, 9, 10) / distance(presets.sitting, 9, 10) - factor) < 1e-9);
  assertClose(geometry.fitted(front, other), other);
});

test("a close-up holds all joints and ends at the edge of the photo", () => {
  const inPhoto = { ...geometry.moved(front, [5, 200]), canvas: [330, 500] };
  const [left, top, width, height] = geometry.closeUp(inPhoto);
  for (const [x, y] of inPhoto.keypoints) assert.ok(x > left && x < left + width && y > top && y < top + height);
  assert.equal(left, 0);
  assert.equal(top + height, 330);
});
