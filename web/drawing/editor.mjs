// The editor of paths: a canvas over the photo and a row of buttons. It knows nothing of ComfyUI.
import { curve, simplify } from "./geometry.mjs";
import { PathPicture, same } from "./picture.mjs";

const REACH = 11; // screen pixels within which a handle is taken
const FINGER = 20; // the same under a finger
const empty = () => ({ paths: [], pins: [] });
const round = (v) => Math.round(v * 10000) / 10000;

export class PathEditor extends PathPicture {
  constructor({ words, onChange, onWheel }) {
    super();
    Object.assign(this, { words, onChange, onWheel, drawing: empty(), past: [], future: [] });
    this.build();
  }

  // What is drawn, as text

  get value() {
    const { paths, pins } = this.drawing;
    return paths.length || pins.length ? JSON.stringify({ paths, pins }) : "";
  }

  set value(text) {
    if (text === this.value) return;
    this.drawing = read(text);
    this.chosen = null;
    this.redraw();
  }

  /** Change what is drawn; every change can be undone. */
  change(edit) {
    this.past.push(this.value);
    this.future = [];
    edit(this.drawing);
    this.tell();
  }

  tell() {
    this.onChange(this.value);
    this.redraw();
  }

  step(from, to) {
    if (!from.length) return;
    to.push(this.value);
    this.drawing = read(from.pop());
    this.chosen = null;
    this.tell();
  }

  undo() { this.step(this.past, this.future); }
  redo() { this.step(this.future, this.past); }

  remove() {
    const { chosen } = this;
    if (!chosen) return;
    this.change((drawing) => {
      const points = drawing.paths[chosen.path]?.points;
      if (chosen.pin !== undefined) drawing.pins.splice(chosen.pin, 1);
      else if (points.length > 2 && chosen.point > 0 && chosen.point < points.length - 1) points.splice(chosen.point, 1);
      else drawing.paths.splice(chosen.path, 1);
    });
    this.chosen = null;
    this.redraw();
  }

  press(name) {
    if (["path", "outline", "pin"].includes(name)) this.tool = name;
    else if (name === "play") this.playing = !this.playing;
    else this[name]();
    this.redraw();
    this.canvas.focus({ preventScroll: true });
  }

  keydown(event) {
    if (event.target.tagName === "INPUT") return event.stopPropagation();
    const command = event.ctrlKey || event.metaKey;
    const key = event.key.toLowerCase();
    const [dx, dy] = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1] }[key] ?? [0, 0];
    if (command && key === "z") event.shiftKey ? this.redo() : this.undo();
    else if (command && key === "y") this.redo();
    else if (command) return;
    else if (key === "delete" || key === "backspace") this.remove();
    else if (key === "escape") this.chosen = null;
    else if (key === " ") this.playing = !this.playing;
    else if (key === "n") this.next(event.shiftKey ? -1 : 1);
    else if (dx || dy) this.nudge(dx, dy, event.shiftKey ? 0.05 : 0.005);
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.redraw();
  }

  /** Choose the next handle, for those who draw without a pointer. */
  next(by) {
    const all = this.handles();
    if (!all.length) return;
    const at = all.findIndex((handle) => same(handle, this.chosen));
    this.chosen = all[(at + by + all.length) % all.length];
  }

  nudge(dx, dy, size) {
    if (!this.chosen) this.change(({ paths }) => {
      paths.push({ points: [[0.4, 0.5], [0.6, 0.5]] });
      this.chosen = { path: paths.length - 1, point: 1 };
    });
    else this.change(() => {
      const [x, y] = this.at(this.chosen);
      this.put(this.chosen, [x + dx * size, y + dy * size]);
    });
  }

  // Pointer

  /** The photo on the screen, which is fitted into the canvas. */
  box() {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const [wide, high] = [Math.min(width, height * this.aspect), Math.min(height, width / this.aspect)];
    return { left: left + (width - wide) / 2, top: top + (height - high) / 2, width: wide, height: high };
  }

  where(event) {
    const box = this.box();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  reach(event) {
    const { width, height } = this.box();
    const pixels = event?.pointerType === "touch" ? FINGER : REACH;
    return { x: pixels / width, y: pixels / height };
  }

  handles() {
    const { paths, pins } = this.drawing;
    return [
      ...paths.flatMap((path, i) => path.points.map((_, point) => ({ path: i, point }))),
      ...pins.map((_, pin) => ({ pin })),
    ];
  }

  at(handle) {
    return handle.pin !== undefined ? this.drawing.pins[handle.pin] : this.drawing.paths[handle.path].points[handle.point];
  }

  /** Move a handle; a start carries its outline along, and only starts and pins must stay in the picture. */
  put(handle, [x, y]) {
    const inside = handle.pin !== undefined || handle.point === 0;
    const clamp = (v) => round(Math.min(Math.max(v, inside ? 0 : -1), inside ? 1 : 2));
    const place = [clamp(x), clamp(y)];
    if (handle.pin !== undefined) this.drawing.pins[handle.pin] = place;
    else this.drawing.paths[handle.path].points[handle.point] = place;
  }

  near(place, event) {
    const { x, y } = this.reach(event);
    const close = ([a, b]) => Math.hypot((a - place[0]) / x, (b - place[1]) / y);
    const all = this.handles().map((handle) => ({ handle, d: close(this.at(handle)) })).filter(({ d }) => d <= 1);
    return all.sort((a, b) => a.d - b.d)[0]?.handle;
  }

  /** A place on a path's line, where a new point bends it. */
  bend(place, event) {
    const { x, y } = this.reach(event);
    for (const [i, path] of this.drawing.paths.entries()) {
      const line = curve(path.points);
      const k = line.findIndex(([a, b]) => Math.hypot((a - place[0]) / x, (b - place[1]) / y) <= 0.8);
      if (k > 0) return { path: i, point: Math.floor(k / 32) + 1 };
    }
  }

  pointerdown(event) {
    if (event.button !== 0 || !event.isPrimary) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
    const place = this.where(event);
    this.before = JSON.stringify(this.drawing);
    this.start = place;
    this.line = null;
    this.held = this.near(place, event);
    const bend = !this.held && this.tool === "path" && this.bend(place, event);
    if (bend) {
      this.drawing.paths[bend.path].points.splice(bend.point, 0, place.map(round));
      this.held = bend;
    }
    this.chosen = this.held ?? null;
    if (!this.held) this.line = [place];
    event.preventDefault();
    this.redraw();
  }

  pointermove(event) {
    if (!this.start || !event.isPrimary) return;
    const place = this.where(event);
    if (this.held) this.put(this.held, place);
    else this.line?.push(place);
    this.redraw();
  }

  pointerup(event) {
    if (!this.start || !event.isPrimary) return;
    const after = JSON.stringify(this.drawing);
    this.drawing = JSON.parse(this.before);
    const { line, held, start } = this;
    this.start = this.line = this.held = null;
    const { x, y } = this.reach(event);
    const place = this.where(event);
    const moved = Math.hypot((place[0] - start[0]) / x, (place[1] - start[1]) / y) > 0.5 || line?.length > 12;
    if (held) {
      if (after !== this.before) this.change((drawing) => Object.assign(drawing, JSON.parse(after)));
    } else this.finish(line.map((point) => point.map(round)), moved, place.map(round));
    this.redraw();
  }

  pointercancel(event) {
    if (!this.start || !event.isPrimary) return;
    if (this.before) this.drawing = JSON.parse(this.before);
    this.start = this.line = this.held = null;
    this.redraw();
  }

  /** A stroke on the bare photo: a path, an outline, or a pin where nothing was drawn. */
  finish(line, moved, end) {
    const inside = (v) => Math.min(Math.max(v, 0), 1);
    const first = line[0].map(inside);
    this.change((drawing) => {
      if (this.tool === "pin" || (!moved && this.tool === "path")) {
        drawing.pins.push(first);
        this.chosen = { pin: drawing.pins.length - 1 };
      } else if (this.tool === "path") {
        drawing.paths.push({ points: [first, ...simplify([...line, end], 0.02).slice(1)] });
        this.chosen = { path: drawing.paths.length - 1, point: drawing.paths.at(-1).points.length - 1 };
      } else if (line.length > 2) {
        const polygon = simplify([...line, line[0]]).slice(0, -1).map((point) => point.map(inside));
        if (polygon.length < 3) return;
        const [x, y] = [0, 1].map((i) => polygon.reduce((sum, point) => sum + point[i], 0) / polygon.length);
        const to = x < 0.75 ? x + 0.15 : x - 0.15;
        drawing.paths.push({ points: [[round(x), round(y)], [round(to), round(y)]], polygon });
        this.chosen = { path: drawing.paths.length - 1, point: 1 };
        this.tool = "path";
      }
    });
  }
}

/** The drawing of a text, also in its short form; what cannot be read is left to the server to refuse. */
export function read(text) {
  try {
    const data = JSON.parse(text || "{}");
    const { paths = [], pins = [] } = Array.isArray(data) ? { paths: data } : data;
    const whole = paths.map((path) => (Array.isArray(path) ? { points: path } : path));
    return { paths: whole.filter(({ points }) => points?.length > 1), pins };
  } catch {
    return empty();
  }
}
