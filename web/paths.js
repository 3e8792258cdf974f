// The widget of Drag over Photo: the editor of paths in the node, over the photo that is wired in.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { PathEditor } from "./drawing/editor.mjs";

const NODE = "PureSVDDrag";
const RATE = 7; // frames per second
const WORDS = {
  en: {
    canvas: "Paths over the photo",
    path: ["➚ Path", "Drag: a path. Click: a point that stays. Drag a line: bend it."],
    outline: ["◌ Outline", "Draw around a part; it gets a path of its own."],
    pin: ["● Pin", "Click: a point that stays."],
    remove: ["✕", "Delete what is chosen (Delete)"],
    undo: ["↶", "Undo (Ctrl+Z)"],
    redo: ["↷", "Redo (Ctrl+Shift+Z)"],
    play: ["▶", "Play (Space)"],
    turn: ["°", "Degrees the part turns on its way, clockwise"],
    scale: ["×", "Times as large as it ends"],
    hint: "Drag to move a part, click to pin a point,\nor draw an outline around a part first.",
    nophoto: "Wire a photo into image.",
  },
  ja: {
    canvas: "写真の上のパス",
    path: ["➚ パス", "ドラッグ：パス。クリック：動かない点。線をドラッグ：曲げる。"],
    outline: ["◌ 輪郭", "部分を囲むと、その部分のパスができます。"],
    pin: ["● ピン", "クリック：動かない点。"],
    remove: ["✕", "選択を削除 (Delete)"],
    undo: ["↶", "元に戻す (Ctrl+Z)"],
    redo: ["↷", "やり直す (Ctrl+Shift+Z)"],
    play: ["▶", "再生 (スペース)"],
    turn: ["°", "途中で時計回りに回る角度"],
    scale: ["×", "終わりの大きさ（倍）"],
    hint: "ドラッグで部分を動かし、クリックで点を固定します。\n先に輪郭で囲むこともできます。",
    nophoto: "image に写真をつないでください。",
  },
  zh: {
    canvas: "照片上的路径",
    path: ["➚ 路径", "拖动：路径。单击：不动的点。拖动线条：弯曲。"],
    outline: ["◌ 轮廓", "圈出一个部分，它会有自己的路径。"],
    pin: ["● 固定点", "单击：不动的点。"],
    remove: ["✕", "删除所选 (Delete)"],
    undo: ["↶", "撤销 (Ctrl+Z)"],
    redo: ["↷", "重做 (Ctrl+Shift+Z)"],
    play: ["▶", "播放 (空格)"],
    turn: ["°", "途中顺时针转动的角度"],
    scale: ["×", "终点时的大小（倍）"],
    hint: "拖动以移动局部，单击以固定一点，\n也可以先圈出轮廓。",
    nophoto: "请把照片接到 image。",
  },
};

app.registerExtension({
  name: "PureSVD.paths",
  getCustomWidgets: () => ({
    PURESVD_PATHS(node, name, data) {
      const words = WORDS[app.extensionManager?.setting?.get("Comfy.Locale")] ?? WORDS.en;
      let value = data?.[1]?.default ?? "";
      const editor = new PathEditor({
        words,
        onChange(text) {
          app.canvas?.emitBeforeChange?.(); // the host keeps what it was told of, in its undo and over a reload
          value = text;
          widget.callback?.(text);
          app.canvas?.emitAfterChange?.();
          node.graph?.setDirtyCanvas?.(true, true);
        },
        onWheel: (event) => app.canvas.processMouseWheel?.(event),
      });
      editor.canvas.type = "textarea"; // the host leaves undo to what edits text
      const widget = node.addDOMWidget(name, "PURESVD_PATHS", editor.element, {
        getValue: () => value,
        setValue(text) {
          value = typeof text === "string" ? text : JSON.stringify(text ?? "");
          editor.value = value;
        },
        getMinHeight: () => Math.max(120, (node.size[0] - 20) / editor.aspect) + editor.rim,
        hideOnZoom: false,
      });
      node.puresvdPaths = editor;
      return { widget, minWidth: 320, minHeight: 260 };
    },
  }),
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const editor = node.puresvdPaths;
    const executed = node.onExecuted;
    node.onExecuted = function (output) {
      executed?.apply(this, arguments);
      const file = output?.puresvd_photo?.[0];
      if (file) node.puresvdPhoto = { from: source(node)?.id, url: address(file.filename, file.type, file.subfolder) };
    };
    const removed = node.onRemoved;
    const timer = setInterval(() => refresh(node, editor), 1000 / RATE);
    node.onRemoved = function () {
      clearInterval(timer);
      removed?.apply(this, arguments);
    };
  },
});

/** Show the photo that is wired in now, and the next frame. */
function refresh(node, editor) {
  if (!editor.element.isConnected) return;
  const named = (name) => node.widgets?.find((widget) => widget.name === name)?.value;
  const [radius, frames] = [named("radius") ?? 0.12, named("frames") ?? 14];
  if (radius !== editor.radius || frames !== editor.frames) Object.assign(editor, { radius, frames }).redraw();
  const url = picture(node);
  if (url !== editor.url) {
    editor.url = url;
    load(url).then((image) => {
      if (editor.url !== url) return;
      editor.photo = image;
      const [width, height] = node.computeSize();
      if (node.size[1] < height) node.setSize([Math.max(node.size[0], width), height]);
    });
  } else if (editor.playing && !editor.start) editor.paint();
}

function load(url) {
  return new Promise((done) => {
    if (!url) return done(null);
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => done(null);
    image.src = url;
  });
}

function source(node) {
  return feeding(node, node.inputs?.findIndex(({ name }) => name === "image") ?? -1);
}

/** The node that an input is wired to, looked for around a subgraph too. */
function feeding(node, slot) {
  const link = node.graph?.getLink?.(node.inputs?.[slot]?.link);
  if (!link || link.origin_id !== node.graph.inputNode?.id) return slot < 0 ? null : node.getInputNode(slot);
  const root = node.graph.rootGraph;
  const graphs = [root, ...(root?.subgraphs?.values() ?? [])];
  const outside = graphs.flatMap((graph) => graph?.nodes ?? []).find(({ subgraph }) => subgraph === node.graph);
  return outside ? feeding(outside, link.origin_slot) : null;
}

/** The address of the picture upstream: a file that is loaded, what the last run was given, or a preview on the way. */
function picture(node) {
  let from = source(node);
  const last = node.puresvdPhoto;
  for (let step = 0; from && step < 20; step++) {
    const file = from.widgets?.find(({ name }) => name === "image")?.value;
    if (step === 0 || !last) {
      if (typeof file === "string" && /^LoadImage/.test(from.comfyClass ?? "")) return input(file);
      if (from.imgs?.[0]?.src) return from.imgs[0].src;
    }
    if (last && last.from === source(node)?.id) return last.url;
    from = feeding(from, from.inputs?.findIndex(({ type }) => type === "IMAGE") ?? -1);
  }
  return null;
}

function input(file) {
  const [, path, type] = /^(.*?)(?: \[(\w+)\])?$/.exec(file);
  const at = path.lastIndexOf("/");
  return address(path.slice(at + 1), type ?? "input", at < 0 ? "" : path.slice(0, at));
}

function address(filename, type, subfolder) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, type, subfolder: subfolder ?? "" })}`);
}
