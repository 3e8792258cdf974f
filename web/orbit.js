// A dial in Image to Orbit: the camera's places around the object, from above, and its height in each frame.
import { app } from "../../scripts/app.js";

const NODE = "PureSVDImageToOrbit";
const [W, H] = [300, 110]; // pixels of the drawing

app.registerExtension({
  name: "PureSVD.orbit",
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [2 * W, 2 * H];
    canvas.style.cssText = "width:100%;object-fit:contain;pointer-events:none";
    const widget = node.addDOMWidget("dial", "PURESVD_DIAL", canvas, {
      serialize: false,
      hideOnZoom: false,
      getMinHeight: () => H,
      getMaxHeight: () => H,
    });
    widget.serialize = false;
    let shown;
    const timer = setInterval(() => {
      const orbit = read(node);
      const now = JSON.stringify(orbit);
      if (now !== shown) draw(canvas.getContext("2d"), orbit);
      shown = now;
    }, 300);
    const removed = node.onRemoved;
    node.onRemoved = function () {
      clearInterval(timer);
      removed?.apply(this, arguments);
    };
  },
});

/** The orbit as svd_core/conditioning/orbit.py computes it: degrees [azimuth, elevation] of each frame. */
function read(node) {
  const value = Object.fromEntries((node.widgets ?? []).map(({ name, value }) => [name, value]));
  const numbers = (text) => (text ?? "").split(/[\s,;[\]]+/).filter(Boolean).map(Number);
  if (value.compatibility === "native")
    return Array.from({ length: value.frames }, (_, i) => [(360 * i) / Math.max(value.frames - 1, 1), value.elevation]);
  if (value.orbit === "list") {
    const [around, heights] = [numbers(value.azimuths), numbers(value.elevations)];
    return around.map((a, i) => [a - around.at(-1), heights[i] ?? heights[0] ?? value.elevation]);
  }
  const sign = value.direction === "clockwise" ? -1 : 1;
  return Array.from({ length: value.frames }, (_, i) => {
    const share = (i + 1) / value.frames;
    const swing = value.orbit === "wave" ? value.amplitude * Math.sin(2 * Math.PI * value.waves * share) : 0;
    return [sign * 360 * share, value.elevation + swing];
  });
}

function draw(context, orbit) {
  context.setTransform(2, 0, 0, 2, 0, 0);
  context.clearRect(0, 0, W, H);
  const [x, y, r] = [H / 2 + 6, H / 2, H / 2 - 10];
  const line = (colour, points) => {
    context.beginPath();
    points.forEach(([a, b], i) => (i ? context.lineTo(a, b) : context.moveTo(a, b)));
    context.strokeStyle = colour;
    context.stroke();
  };
  const dot = (a, b, size, colour) => {
    context.beginPath();
    context.arc(a, b, size, 0, 2 * Math.PI);
    context.fillStyle = colour;
    context.fill();
  };
  context.beginPath();
  context.arc(x, y, r, 0, 2 * Math.PI);
  context.strokeStyle = "#777";
  context.stroke();
  dot(x, y, 6, "#999");
  const [left, right] = [H + 30, W - 8];
  const level = (e) => y - (e / 90) * (H / 2 - 8);
  line("#777", [[left, level(0)], [right, level(0)]]);
  const place = (i) => (orbit.length > 1 ? left + ((right - left) * i) / (orbit.length - 1) : right);
  line("#42d4f4", orbit.map(([, e], i) => [place(i), level(e)]));
  orbit.forEach(([a, e], i) => {
    const last = i === orbit.length - 1;
    const angle = ((a + 90) * Math.PI) / 180; // the input view is below, as one stands before the object
    const colour = last ? "#ffb000" : `hsl(195 80% ${75 - (45 * i) / orbit.length}%)`;
    dot(x + r * Math.cos(angle), y + r * Math.sin(angle) * 1, last ? 5 : 3, colour);
    dot(place(i), level(e), last ? 4 : 2, colour);
  });
}
