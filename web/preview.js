// Plays a clip in its node while it is sampled. Each preview picture holds all frames side by side, and a message
// just before it says how it is divided; the host's own preview then gets one frame after the other.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const PICTURE = "b_preview_with_metadata";
const PLAY = "PureSVD.PlayPreview";
const RATE = 7; // frames per second, the rate the released checkpoints were sampled for
const SIDE = 384; // pixels of a frame's longer side
const clips = new Map(); // node id -> the clip that plays there

app.registerExtension({
  name: "PureSVD.preview",
  settings: [
    {
      id: PLAY,
      category: ["PureSVD", "Live preview", "Play"],
      name: "Play the live preview of a clip",
      tooltip: "Off: all frames are shown side by side.",
      type: "boolean",
      defaultValue: true,
    },
  ],
});

api.addEventListener("puresvd.sheet", ({ detail }) => {
  const clip = clips.get(detail.node) ?? { next: 0 };
  clips.set(detail.node, Object.assign(clip, { layout: detail }));
});

// Modules of extensions are loaded before the host listens, so a picture can be kept from it.
api.addEventListener(PICTURE, (event) => {
  const clip = clips.get(event.detail.nodeId);
  if (!clip?.layout || event.detail.played || !app.extensionManager.setting.get(PLAY)) return;
  const { layout } = clip;
  clip.layout = null; // a picture without one is not ours
  event.stopImmediatePropagation();
  cut(event.detail.blob, layout).then((frames) => play(event.detail, clip, frames));
});

api.addEventListener("progress_state", ({ detail }) => {
  for (const [id, { state }] of Object.entries(detail.nodes)) if (state !== "running") stop(id);
});

for (const end of ["execution_success", "execution_error", "execution_interrupted"])
  api.addEventListener(end, () => [...clips.keys()].forEach(stop));

/** The frames of a sheet as pictures of their own. */
async function cut(blob, { columns, frames, width, height }) {
  const sheet = await createImageBitmap(blob);
  const scale = sheet.width / (columns * (width + 1) - 1); // a gap of one latent lies between frames
  const zoom = SIDE / Math.max(width, height); // the host does not enlarge small pictures
  const [w, h] = [Math.round(width * zoom), Math.round(height * zoom)];
  const pictures = Array.from({ length: frames }, (_, i) => {
    const canvas = new OffscreenCanvas(w, h);
    const x = (i % columns) * (width + 1) * scale;
    const y = Math.floor(i / columns) * (height + 1) * scale;
    canvas.getContext("2d").drawImage(sheet, x, y, width * scale, height * scale, 0, 0, w, h);
    return canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
  });
  return Promise.all(pictures).finally(() => sheet.close());
}

function play(detail, clip, frames) {
  if (clips.get(detail.nodeId) !== clip) return; // it ended meanwhile
  clip.frames = frames;
  clip.timer ??= setInterval(() => {
    clip.next = (clip.next + 1) % clip.frames.length;
    api.dispatchCustomEvent(PICTURE, { ...detail, blob: clip.frames[clip.next], played: true });
  }, 1000 / RATE);
}

function stop(id) {
  clearInterval(clips.get(id)?.timer);
  clips.delete(id);
}
