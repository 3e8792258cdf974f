// Curves and clips of what is drawn, the same as svd_core/control/moved_clip.py computes. Points are [x, y] in 0..1.

const SAMPLES = 32; // straight pieces of a curve, between two points

/** A smooth line through points (uniform Catmull-Rom). */
export function curve(points) {
  const n = points.length;
  const mirror = (a, b) => [2 * a[0] - b[0], 2 * a[1] - b[1]];
  const p = [mirror(points[0], points[1]), ...points, mirror(points[n - 1], points[n - 2])];
  const line = [];
  for (let i = 0; i + 3 < p.length; i++)
    for (let k = 0; k < SAMPLES; k++) {
      const u = k / SAMPLES;
      line.push([0, 1].map((x) => {
        const [a, b, c, d] = p.slice(i, i + 4).map((point) => point[x]);
        return b + (u / 2) * (c - a + u * (2 * a - 5 * b + 4 * c - d + u * (3 * (b - c) + d - a)));
      }));
    }
  return [...line, points[n - 1]];
}

/** The place at a share of the curve's length, walked at constant speed in a picture of this aspect (width / height). */
export function along(points, share, aspect = 1) {
  const line = curve(points);
  const steps = line.slice(1).map((p, i) => Math.hypot((p[0] - line[i][0]) * aspect, p[1] - line[i][1]));
  let left = Math.min(Math.max(share, 0), 1) * steps.reduce((a, b) => a + b, 0);
  for (let i = 0; i < steps.length; i++) {
    if (left <= steps[i] && steps[i] > 0) {
      const u = left / steps[i];
      return [0, 1].map((x) => line[i][x] + u * (line[i + 1][x] - line[i][x]));
    }
    left -= steps[i];
  }
  return line[line.length - 1];
}

/** What a path carries, as an outline in pixels of a picture of W x H. */
export function outline(path, radius, W, H) {
  const shape = new Path2D();
  if (path.polygon?.length) {
    path.polygon.forEach(([x, y], i) => (i ? shape.lineTo(x * W, y * H) : shape.moveTo(x * W, y * H)));
    shape.closePath();
  } else {
    const [x, y] = path.points[0];
    shape.arc(x * W, y * H, (path.radius ?? radius) * Math.min(W, H), 0, 2 * Math.PI);
  }
  return shape;
}

/** The middle of that outline's box, in pixels. */
export function middle(path, W, H) {
  if (!path.polygon?.length) return [path.points[0][0] * W, path.points[0][1] * H];
  const side = (i, size) => {
    const values = path.polygon.map((point) => point[i]);
    return ((Math.min(...values) + Math.max(...values)) / 2) * size;
  };
  return [side(0, W), side(1, H)];
}

function canvasOf(W, H) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.max(1, Math.round(W)), Math.max(1, Math.round(H))];
  return canvas;
}

/** The photo with the holes that moved parts leave, filled smoothly from coarser and coarser copies. */
export function ground(photo, drawing, radius, W, H) {
  const whole = canvasOf(W, H);
  const context = whole.getContext("2d");
  context.drawImage(photo, 0, 0, W, H);
  context.globalCompositeOperation = "destination-out";
  for (const path of drawing.paths) context.fill(outline(path, radius, W, H));
  context.globalCompositeOperation = "destination-over";
  let last = whole;
  while (Math.min(last.width, last.height) > 4) {
    const half = canvasOf(last.width / 2, last.height / 2);
    half.getContext("2d").drawImage(last, 0, 0, half.width, half.height);
    last = half;
    for (let i = 0; i < 4; i++) context.drawImage(half, 0, 0, W, H); // four times: nearly opaque where anything is known
  }
  return whole;
}

/** One frame, `share` of the way, onto a context of W x H. */
export function frame(context, photo, filled, drawing, radius, share, W, H) {
  context.drawImage(filled, 0, 0, W, H);
  for (const path of drawing.paths) {
    const [x, y] = along(path.points, share, W / H);
    const [x0, y0] = path.points[0];
    const [cx, cy] = middle(path, W, H);
    context.save();
    context.translate(cx + (x - x0) * W, cy + (y - y0) * H);
    context.rotate((share * (path.turn ?? 0) * Math.PI) / 180);
    context.scale(...[0, 1].map(() => Math.pow(path.scale ?? 1, share)));
    context.translate(-cx, -cy);
    context.clip(outline(path, radius, W, H));
    context.drawImage(photo, 0, 0, W, H);
    context.restore();
  }
}

/** A line drawn by hand with fewer points (Ramer, Douglas and Peucker). */
export function simplify(points, tolerance = 0.006) {
  if (points.length < 3) return points;
  const [a, b] = [points[0], points[points.length - 1]];
  const length = Math.hypot(b[0] - a[0], b[1] - a[1]);
  let [far, at] = [0, 0];
  points.forEach((p, i) => {
    const distance = length
      ? Math.abs((b[0] - a[0]) * (a[1] - p[1]) - (a[0] - p[0]) * (b[1] - a[1])) / length
      : Math.hypot(p[0] - a[0], p[1] - a[1]);
    if (distance > far) [far, at] = [distance, i];
  });
  if (far <= tolerance) return [a, b];
  return [...simplify(points.slice(0, at + 1), tolerance).slice(0, -1), ...simplify(points.slice(at), tolerance)];
}
