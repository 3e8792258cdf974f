// Says once that clips can play in their nodes, where the host's live previews are off, with a button that turns
// them on. Off is the host's own default, so that a newcomer would never see a clip take shape.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const METHOD = "Comfy.Execution.PreviewMethod";
const SAID = "PureSVD.PreviewOffered";
const SAMPLERS = ["PureSVDSample", "PureSVDSampleUntil", "PureSVDBetween", "PureSVDLongVideo"];
const TEXTS = {
  en: ["The clip can play in its node while it takes shape. Live previews are off.", "Turn on", "Not now"],
  ja: ["生成中のクリップをノードの中で再生できます。ライブプレビューはオフです。", "オンにする", "今はしない"],
  zh: ["片段可以在生成过程中于节点内播放。实时预览目前已关闭。", "开启", "暂不"],
};

app.registerExtension({
  name: "PureSVD.offer",
  settings: [{ id: SAID, name: "Previews were offered", type: "hidden", defaultValue: false }],
});

api.addEventListener("execution_start", async () => {
  const settings = app.extensionManager.setting;
  if (settings.get(SAID) || !(await off(settings.get(METHOD))) || !samples(app.rootGraph ?? app.graph)) return;
  if (settings.get(SAID)) return; // meanwhile
  await settings.set(SAID, true);
  offer(settings);
});

/** Whether no preview would be made; a server can have been started with previews, which "default" then means. */
async function off(method) {
  if (method === "none") return true;
  if (method !== "default") return false; // also a host without the setting
  const { system } = await (await api.fetchApi("/system_stats")).json();
  const at = system?.argv?.findIndex((word) => word.startsWith("--preview-method")) ?? -1;
  const [, given = system?.argv?.[at + 1]] = at < 0 ? [] : system.argv[at].split("=");
  return at < 0 || given === "none";
}

function samples(graph) {
  return graph.nodes.some((node) => SAMPLERS.includes(node.type) || (node.subgraph && samples(node.subgraph)));
}

/** A note at the edge of the window; the host's own have no buttons. */
function offer(settings) {
  const [text, yes, no] = TEXTS[settings.get("Comfy.Locale")?.slice(0, 2)] ?? TEXTS.en;
  const note = document.createElement("div");
  note.dataset.testid = "puresvd-offer";
  note.setAttribute("role", "status");
  note.style.cssText =
    "position:fixed;right:24px;bottom:24px;z-index:1000;max-width:360px;padding:14px 16px;border-radius:8px;" +
    "background:var(--comfy-menu-bg,#353535);color:var(--input-text,#ddd);border:1px solid " +
    "var(--border-color,#4e4e4e);box-shadow:0 4px 16px #0008;font:14px/1.4 sans-serif";
  note.append(Object.assign(document.createElement("div"), { textContent: text }));
  const row = note.appendChild(document.createElement("div"));
  row.style.cssText = "display:flex;gap:8px;justify-content:flex-end;margin-top:10px";
  for (const [label, act] of [
    [no, () => {}],
    [yes, () => settings.set(METHOD, "auto")],
  ]) {
    const button = row.appendChild(Object.assign(document.createElement("button"), { textContent: label }));
    button.style.cssText =
      "padding:6px 12px;border-radius:6px;border:1px solid var(--border-color,#4e4e4e);cursor:pointer;" +
      "background:var(--comfy-input-bg,#222);color:inherit;font:inherit";
    button.addEventListener("click", () => (note.remove(), act()));
  }
  document.body.append(note);
}
