// What the editor of paths shows: buttons, the photo that plays, and the marks of what is drawn.
import { curve, frame, ground, outline } from "./geometry.mjs";

const RATE = 7; // frames per second
const ROW = 24; // pixels of a row of buttons
const COLOURS = ["#ffb000", "#42d4f4", "#f58fd0", "#a6e22e", "#fd6f5a", "#b9a2ff"];

export class PathPicture {
  radius = 0.12; // of what a path carries, as a share of the shorter side
  frames = 14;
  tool = "path";
  playing = true;

  // The element

  build() {
    const make = (tag, style, parent) => {
      const element = document.createElement(tag);
      element.style.cssText = style;
      parent?.append(element);
      return element;
    };
    this.element = make("div", "display:flex;flex-direction:column;gap:4px;width:100%;min-width:0;overflow:hidden");
    this.element.className = "puresvd-paths";
    this.bar = make("div", "display:flex;flex-wrap:wrap;gap:3px;align-items:center;font:12px sans-serif", this.element);
    this.canvas = make("canvas", "width:100%;flex:1 1 auto;min-height:0;object-fit:contain;border-radius:4px;"
      + "background:#222;touch-action:none;outline-offset:-2px;cursor:crosshair;display:block", this.element);
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", this.words.canvas);
    const style = "padding:2px 7px;border:1px solid #666;border-radius:4px;background:#333;color:#eee;cursor:pointer;font:inherit";
    this.buttons = {};
    for (const name of ["path", "outline", "pin", "remove", "undo", "redo", "play"]) {
      const button = make("button", style, this.bar);
      button.type = "button";
      button.dataset.tool = name;
      [button.textContent, button.title] = this.words[name];
      button.addEventListener("click", () => this.press(name));
      this.buttons[name] = button;
    }
    this.numbers = {};
    for (const [name, start, low, high, step] of [["turn", 0, -3600, 3600, 5], ["scale", 1, 0.05, 20, 0.05]]) {
      const [sign, title] = this.words[name];
      const label = make("label", "display:flex;visibility:hidden;color:#ccc;gap:2px;align-items:center", this.bar);
      label.append(sign);
      label.title = title;
      const input = make("input", "width:52px;background:#222;color:#eee;border:1px solid #666;border-radius:4px", label);
      Object.assign(input, { type: "number", min: low, max: high, step, value: start });
      input.addEventListener("change", () => {
        const value = Math.min(Math.max(Number(input.value) || start, low), high);
        if (this.chosen?.path !== undefined) this.change(({ paths }) => { paths[this.chosen.path][name] = value; });
      });
      this.numbers[name] = { label, input, start };
    }
    for (const kind of ["pointerdown", "pointermove", "pointerup", "pointercancel"])
      this.canvas.addEventListener(kind, (event) => this[kind](event));
    for (const kind of ["keydown", "keyup"]) this.element.addEventListener(kind, (event) => this[kind]?.(event));
    for (const kind of ["pointerdown", "mousedown", "dblclick", "contextmenu", "copy", "paste"])
      this.element.addEventListener(kind, (event) => event.stopPropagation());
    this.canvas.addEventListener("wheel", (event) => this.onWheel?.(event));
    this.redraw();
  }

  // The picture

  set photo(image) {
    this.image = image;
    const W = Math.min(image?.naturalWidth || 640, 768);
    this.canvas.width = W;
    this.canvas.height = Math.round((W * (image?.naturalHeight || 360)) / (image?.naturalWidth || 640));
    this.canvas.style.aspectRatio = `${this.canvas.width} / ${this.canvas.height}`;
    this.redraw();
  }

  get aspect() {
    return this.canvas.width / this.canvas.height;
  }

  /** Height of what stands above the photo, in pixels. */
  get rim() {
    return (this.bar.offsetHeight || 2 * ROW) + 8;
  }

  redraw() {
    this.filled = null;
    for (const [name, button] of Object.entries(this.buttons)) {
      const on = name === this.tool || (name === "play" && this.playing);
      button.style.background = on ? "#4a6fa5" : "#333";
      button.setAttribute("aria-pressed", on);
    }
    const path = this.drawing.paths[this.chosen?.path];
    for (const [name, { label, input, start }] of Object.entries(this.numbers)) {
      label.style.visibility = path ? "visible" : "hidden"; // its room stays, so that the photo does not jump
      if (path) input.value = path[name] ?? start;
    }
    this.paint();
  }

  /** Draw the frame of this moment; the photo itself while a stroke is drawn or playing is off. */
  paint(now = performance.now()) {
    const context = this.canvas.getContext("2d");
    const { width: W, height: H } = this.canvas;
    context.clearRect(0, 0, W, H);
    const still = !this.playing || this.start || !this.drawing.paths.length;
    if (this.image && still) context.drawImage(this.image, 0, 0, W, H);
    else if (this.image) {
      this.filled ??= ground(this.image, this.drawing, this.radius, W, H);
      const f = Math.floor((now / 1000) * RATE) % this.frames;
      frame(context, this.image, this.filled, this.drawing, this.radius, this.frames > 1 ? f / (this.frames - 1) : 0, W, H);
    } else this.hint(context, this.words.nophoto, W, H);
    this.marks(context, W, H);
    if (this.image && !this.drawing.paths.length && !this.drawing.pins.length && !this.line)
      this.hint(context, this.words.hint, W, H);
  }

  hint(context, text, W, H) {
    context.font = `${Math.max(13, W / 36)}px sans-serif`;
    context.textAlign = "center";
    const lines = text.split("\n");
    context.fillStyle = "rgba(0, 0, 0, 0.55)";
    const high = W / 24;
    context.fillRect(0, H / 2 - (high * lines.length) / 2 - high / 2, W, high * (lines.length + 0.8));
    context.fillStyle = "#fff";
    lines.forEach((line, i) => context.fillText(line, W / 2, H / 2 + (i - lines.length / 2 + 0.7) * high));
  }

  marks(context, W, H) {
    const { clientWidth, clientHeight } = this.canvas;
    const unit = Math.max(W / (clientWidth || W), H / (clientHeight || H)); // canvas pixels to one of the screen
    const pixel = ([x, y]) => [x * W, y * H];
    const stroke = (shape, colour, width, dash = []) => {
      for (const [style, wide] of [["rgba(0, 0, 0, 0.6)", width + 2], [colour, width]]) {
        [context.strokeStyle, context.lineWidth] = [style, wide * unit];
        context.setLineDash(dash.map((d) => d * unit));
        context.stroke(shape);
      }
      context.setLineDash([]);
    };
    const dot = ([x, y], size, colour, chosen) => {
      context.beginPath();
      context.arc(x, y, size * unit, 0, 2 * Math.PI);
      context.fillStyle = chosen ? "#fff" : colour;
      context.fill();
      [context.strokeStyle, context.lineWidth] = ["#000", 1.5 * unit];
      context.stroke();
    };
    this.drawing.paths.forEach((path, i) => {
      const colour = COLOURS[i % COLOURS.length];
      stroke(outline(path, this.radius, W, H), colour, 1, [4, 4]);
      const line = curve(path.points).map(pixel);
      const shape = new Path2D();
      line.forEach(([x, y], k) => (k ? shape.lineTo(x, y) : shape.moveTo(x, y)));
      const [[x0, y0], [x1, y1]] = [line[Math.max(line.length - 6, 0)], line[line.length - 1]];
      const angle = Math.atan2(y1 - y0, x1 - x0);
      for (const side of [2.6, -2.6]) {
        shape.moveTo(x1, y1);
        shape.lineTo(x1 + 13 * unit * Math.cos(angle + side), y1 + 13 * unit * Math.sin(angle + side));
      }
      stroke(shape, colour, this.chosen?.path === i ? 4 : 2.5);
      path.points.forEach((point, k) => dot(pixel(point), k ? 4.5 : 6, colour, same(this.chosen, { path: i, point: k })));
    });
    this.drawing.pins.forEach((pin, i) => {
      const chosen = same(this.chosen, { pin: i });
      dot(pixel(pin), 6, "#e33", chosen);
      dot(pixel(pin), 2, "#fff");
    });
    if (this.line?.length > 1) {
      const shape = new Path2D();
      this.line.map(pixel).forEach(([x, y], k) => (k ? shape.lineTo(x, y) : shape.moveTo(x, y)));
      stroke(shape, "#fff", 2);
    }
  }
}

export function same(a, b) {
  return !!a && !!b && a.path === b.path && a.point === b.point && a.pin === b.pin;
}
