"use strict";
// Mouse, fingers and keys; and the first look.
const pointers = new Map();
let travelled = 0;
const CLICK_PX = 5;
const KEY_PX = 60;

const KEYS = {
  ArrowLeft: () => move(-KEY_PX, 0),
  ArrowRight: () => move(KEY_PX, 0),
  ArrowUp: () => move(0, -KEY_PX),
  ArrowDown: () => move(0, KEY_PX),
  "+": () => zoomAt(1.5, canvas.clientWidth / 2, canvas.clientHeight / 2),
  "=": () => zoomAt(1.5, canvas.clientWidth / 2, canvas.clientHeight / 2),
  "-": () => zoomAt(1 / 1.5, canvas.clientWidth / 2, canvas.clientHeight / 2),
  0: fit,
  n: () => step(1),
  p: () => step(-1),
  Enter: () => select(objectAt(canvas.clientWidth / 2, canvas.clientHeight / 2)),
  Escape: () => select(null),
};

function spot(event) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

function middleAndSpread() {
  const spots = [...pointers.values()];
  const x = spots.reduce((sum, one) => sum + one[0], 0) / spots.length;
  const y = spots.reduce((sum, one) => sum + one[1], 0) / spots.length;
  const spread = spots.length > 1 ? Math.hypot(spots[0][0] - spots[1][0], spots[0][1] - spots[1][1]) : 0;
  return { x, y, spread };
}

function pressed(event) {
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  if (!pointers.size) travelled = 0;
  pointers.set(event.pointerId, spot(event));
}

function moved(event) {
  tellPlace(spot(event));
  if (!pointers.has(event.pointerId)) return;
  const before = middleAndSpread();
  pointers.set(event.pointerId, spot(event));
  const now = middleAndSpread();
  travelled += Math.hypot(now.x - before.x, now.y - before.y) + Math.abs(now.spread - before.spread);
  move(before.x - now.x, before.y - now.y);
  if (before.spread > 0 && now.spread > 0) zoomAt(now.spread / before.spread, now.x, now.y);
}

function released(event) {
  const was = pointers.delete(event.pointerId);
  if (was && !pointers.size && travelled < CLICK_PX) select(objectAt(...spot(event)));
}

function tellPlace([screenX, screenY]) {
  const [col, row] = gridAt(screenX, screenY);
  const [a, b, c, d, e, f] = place.affine || [1, 0, 0, 0, 1, 0];
  const digits = place.unit === "m" || !place.affine ? 1 : 6;
  part("map-where").textContent = `${(a * col + b * row + c).toFixed(digits)}, ${(d * col + e * row + f).toFixed(digits)} ${place.unit}.`;
}

function keyed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

function choose(names, value) {
  for (const name of names) if (part(name)) part(name).checked = value;
}

canvas.addEventListener("pointerdown", pressed);
canvas.addEventListener("pointermove", moved);
canvas.addEventListener("pointerup", released);
canvas.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
canvas.addEventListener("keydown", keyed);
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const lines = event.deltaMode === 1 ? 16 : 1;
  zoomAt(2 ** (-Math.max(-300, Math.min(300, event.deltaY * lines)) / 300), ...spot(event));
}, { passive: false });

choose(["map-picture", "map-outlines", "map-seams", "map-ground-failed"], true);
for (const input of part("map-all").querySelectorAll("fieldset input, fieldset select")) {
  input.addEventListener("change", filter);
}
for (const end of ["least", "most"]) {
  for (const name of Object.keys(filters)) part(`map-${name}-${end}`).addEventListener("input", filter);
}
part("map-confidence").hidden = !hasConfidence;
part("map-reset").addEventListener("click", reset);
part("map-more").addEventListener("click", () => {
  list.length *= 2;
  listChips();
});
// The chips of the report lead to the map.
document.addEventListener("click", (event) => {
  const article = event.target.closest("article[id^=q]");
  const object = article && objects.find((each) => article.id === `q${each.query}-${each.id}`);
  if (!object) return;
  reset();
  go(object);
  canvas.scrollIntoView({ block: "center" });
});
new ResizeObserver(resized).observe(canvas);
resized();
reset();
notes();
fit();
