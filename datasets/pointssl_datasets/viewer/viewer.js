// The page: a grid of clouds with a filter, and a dialog in which one of them is turned about.

const data = JSON.parse(document.getElementById("data").textContent);
const painter = webglPainter() || flatPainter();
const $ = (id) => document.getElementById(id);

/** An element with properties and children; text is always text, never markup. */
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const className = (cloud) => data.classes[cloud.label] ?? "";
const shortName = (cloud) =>
  cloud.name.startsWith(className(cloud) + "/") ? cloud.name.slice(className(cloud).length + 1) : cloud.name;

// ---------------------------------------------------------------- colours

const MODES = [
  ["part", "part", (c) => c.part], ["predicted", "predicted part", (c) => c.predicted],
  ["errors", "wrong parts", (c) => c.part && c.predicted],
  ["own", "own colour", (c) => c.colours], ["plain", "one colour", () => true],
  ["height", "height", () => true], ["normal", "normal", (c) => c.normals],
];

/** Fills a list of colour modes with those that any of the clouds has. */
function offerModes(select, clouds, wanted) {
  const fitting = MODES.filter(([, , has]) => clouds.some(has));
  select.replaceChildren(...fitting.map(([value, text]) => element("option", { value, text })));
  select.value = fitting.some(([value]) => value === wanted) ? wanted : fitting[0][0];
}

// ---------------------------------------------------------------- grid

let shown = []; // the clouds that pass the filter, in order

function makeCard(cloud, index) {
  const canvas = element("canvas", { width: 320, height: 320 });
  canvas.setAttribute("aria-hidden", "true");
  const card = element("button", { type: "button", className: "card", title: cloud.name }, canvas);
  if (cloud.image) card.append(element("img", { src: cloud.image, alt: `Image of ${cloud.name}` }));
  const caption = element("span", { className: "caption" },
    element("b", { textContent: className(cloud) || shortName(cloud) }));
  if (className(cloud)) caption.append(element("span", { textContent: shortName(cloud) }));
  if (cloud.caption) caption.append(element("em", { textContent: cloud.caption }));
  card.append(caption);
  card.addEventListener("click", () => open(index));
  // A thumbnail turns under the mouse.
  card.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse") thumbnail(cloud, 2.5 * (event.offsetX / card.offsetWidth - 0.5));
  });
  card.addEventListener("pointerleave", () => thumbnail(cloud));
  Object.assign(cloud, { card });
  watcher.observe(card);
  return Object.assign(card, { cloud });
}

function thumbnail(cloud, turn = 0) {
  const mode = $("colour").value;
  if (cloud.thumbnailMode !== mode) {
    cloud.thumbnailMode = mode;
    cloud.thumbnailDrawing = drawing(cloud, mode, data.palette);
  }
  const view = startView();
  painter.paint(cloud.card.firstChild, cloud.thumbnailDrawing, { ...view, yaw: view.yaw + turn }, 1.15);
}

// Thumbnails are drawn when they come into sight, so that a page of thousands opens at once.
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.cloud.inSight = isIntersecting;
    if (isIntersecting && target.cloud.thumbnailMode !== $("colour").value) thumbnail(target.cloud);
  }
}, { rootMargin: "200px" });

function applyFilter() {
  const label = $("filter").value;
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  shown = [];
  data.clouds.forEach((cloud, index) => {
    const text = `${cloud.name} ${className(cloud)} ${cloud.caption ?? ""}`.toLowerCase();
    const fits = (label === "" || cloud.label === Number(label)) && words.every((w) => text.includes(w));
    cloud.card.hidden = !fits;
    if (fits) shown.push(index);
  });
  $("count").value = `${shown.length} of ${data.clouds.length} clouds`;
  $("none").hidden = shown.length > 0;
}

function makeGrid() {
  const counts = new Map();
  for (const { label } of data.clouds) counts.set(label, (counts.get(label) ?? 0) + 1);
  const classes = data.classes.map((name, label) => [name, label]).filter(([, l]) => counts.has(l));
  $("filter").append(element("option", { value: "", text: "All" }),
    ...classes.map(([name, value]) => element("option", { value, text: `${name} (${counts.get(value)})` })));
  $("filter").parentElement.hidden = classes.length < 2;
  offerModes($("colour"), data.clouds, data.mode);
  $("grid").append(...data.clouds.map(makeCard));
  for (const id of ["filter", "search"]) $(id).addEventListener("input", applyFilter);
  $("colour").addEventListener("input", () => data.clouds.filter((c) => c.inSight).forEach((c) => thumbnail(c)));
  $("clear").addEventListener("click", () => applyFilter($("filter").value = $("search").value = ""));
  applyFilter();
}

// ---------------------------------------------------------------- one cloud

const canvas = $("canvas");
const hidden = new Set(); // parts that are switched off
let current = -1;
let view = startView();
let what = null; // the drawing of the current cloud
let spinning = !matchMedia("(prefers-reduced-motion: reduce)").matches;
let [frame, before] = [0, 0]; // the requested frame, and the time of the last one

function open(index) {
  const cloud = data.clouds[index];
  current = index;
  hidden.clear();
  offerModes($("mode"), [cloud], $("mode").value || $("colour").value);
  $("name").textContent = cloud.name;
  canvas.setAttribute("aria-label", `Point cloud ${cloud.name}`);
  $("caption").textContent = cloud.caption ?? "";
  const facts = [className(cloud), `${decoded(cloud).count.toLocaleString("en")} points`,
    cloud.size.map((v) => Number(v.toPrecision(3))).join(" × "), cloud.estimated ? "normals estimated" : ""];
  $("facts").textContent = facts.filter(Boolean).join(" · ");
  $("place").textContent = `${shown.indexOf(index) + 1} / ${shown.length}`;
  $("image").hidden = !cloud.image;
  Object.assign($("image").querySelector("img"),
    { src: cloud.image ?? "data:,", alt: `Image of ${cloud.name}` });
  makeLegend();
  redraw();
  if (!$("viewer").open) $("viewer").showModal();
  canvas.focus({ preventScroll: true });
  requestFrame();
}

/** To the next (1) or previous (-1) of the clouds that pass the filter, round and round. */
function step(by) {
  const at = shown.indexOf(current);
  if (shown.length) open(shown[(at + by + shown.length) % shown.length]);
}

/** A switch per part of this cloud, or for right and wrong; hidden ones stay in the list, struck through. */
function makeLegend() {
  const mode = $("mode").value;
  const ids = legendIds(decoded(data.clouds[current]), mode);
  const [title, names, palette] = mode === "errors" ? ["Wrong parts", ["right", "wrong"], [GREY, WRONG]]
    : [mode === "predicted" ? "Predicted parts" : "Parts", data.parts, data.palette];
  const counts = new Map();
  for (const id of ids ?? []) counts.set(id, (counts.get(id) ?? 0) + 1);
  const entries = [...counts].sort(([a], [b]) => a - b).map(([id, count]) => {
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = `rgb(${palette[id] ?? GREY})`;
    const share = (100 * count) / ids.length;
    const button = element("button", { type: "button" }, swatch,
      element("span", { textContent: id === NO_PART ? "no part" : names[id] ?? `part ${id}` }),
      element("small", { textContent: share < 1 ? "< 1%" : `${Math.round(share)}%` }));
    button.setAttribute("aria-pressed", String(!hidden.has(id)));
    button.addEventListener("click", () => {
      if (!hidden.delete(id)) hidden.add(id);
      button.setAttribute("aria-pressed", String(!hidden.has(id)));
      redraw();
    });
    return button;
  });
  $("legend").replaceChildren(...(entries.length ? [element("h3", { textContent: title })] : []), ...entries);
}

function redraw() {
  what = drawing(data.clouds[current], $("mode").value, data.palette, hidden);
  requestFrame();
}

function requestFrame() {
  $("spin").setAttribute("aria-pressed", String(spinning));
  if (!frame && $("viewer").open) frame = requestAnimationFrame(paintFrame);
}

function paintFrame(now) {
  frame = 0;
  if (spinning) view.yaw += Math.min(now - before, 50) * 5e-4;
  before = now;
  const scale = window.devicePixelRatio;
  const [width, height] = [canvas.clientWidth * scale, canvas.clientHeight * scale].map(Math.round);
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  if (width && height) {
    const scaled = { ...view, x: view.x * scale, y: view.y * scale };
    painter.paint(canvas, what, scaled, Number($("size").value));
  }
  if (spinning) requestFrame();
}

function reset() {
  view = startView();
  $("size").value = 1;
  requestFrame();
}

/** Zooms so that the place under (x, y), in pixels from the middle, stays there. */
function zoom(factor, x, y) {
  const next = Math.min(Math.max(view.zoom * factor, 0.3), 30);
  const grown = next / view.zoom;
  Object.assign(view, { zoom: next, x: x + (view.x - x) * grown, y: y + (view.y - y) * grown });
  requestFrame();
}

function turn(across, down) {
  view.yaw += across;
  view.pitch = Math.min(Math.max(view.pitch + down, -Math.PI / 2), Math.PI / 2);
  requestFrame();
}

function listenToPointers() {
  const fingers = new Map();
  const middle = ({ clientX, clientY }) => {
    const box = canvas.getBoundingClientRect();
    return [clientX - box.left - box.width / 2, clientY - box.top - box.height / 2];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, middle(event));
    spinning = false;
    requestFrame();
  });
  canvas.addEventListener("pointermove", (event) => {
    const from = fingers.get(event.pointerId);
    if (!from) return;
    const to = middle(event);
    const moved = [to[0] - from[0], to[1] - from[1]];
    const others = [...fingers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    if (others.length) { // two fingers: each moves the view by half, their distance zooms
      const [x, y] = others[0];
      view.x += moved[0] / 2;
      view.y += moved[1] / 2;
      const gap = (at) => Math.max(Math.hypot(at[0] - x, at[1] - y), 1);
      zoom(gap(to) / gap(from), (to[0] + x) / 2, (to[1] + y) / 2);
    } else if (event.buttons & 2 || event.shiftKey) {
      view.x += moved[0];
      view.y += moved[1];
      requestFrame();
    } else turn(moved[0] * 0.01, moved[1] * 0.01);
    fingers.set(event.pointerId, to);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
  }
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-0.0015 * event.deltaY * (event.deltaMode ? 20 : 1)), ...middle(event));
  }, { passive: false });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("dblclick", reset);
}

function listenToKeys() {
  const turns = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] };
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  $("viewer").addEventListener("keydown", (event) => {
    const own = event.target.closest("select, input"); // these need the arrows themselves
    if (own || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.shiftKey && turns[event.key]) turn(...turns[event.key]);
    else if (steps[event.key]) step(steps[event.key]);
    else if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? 1.2 : 1 / 1.2, 0, 0);
    else if (event.key === "r") reset();
    else if (event.key === " " && event.target === canvas) $("spin").click();
    else return;
    event.preventDefault();
  });
}

$("close").addEventListener("click", () => $("viewer").close());
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("reset").addEventListener("click", reset);
$("size").addEventListener("input", requestFrame);
$("mode").addEventListener("input", () => {
  hidden.clear();
  makeLegend();
  redraw();
});
$("spin").addEventListener("click", () => {
  spinning = !spinning;
  requestFrame();
});
$("viewer").addEventListener("close", () => data.clouds[current].card.focus());
new ResizeObserver(requestFrame).observe(canvas);
listenToPointers();
listenToKeys();
makeGrid();
document.documentElement.dataset.painter = painter.kind;
