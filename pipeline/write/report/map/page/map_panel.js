"use strict";
// Filters, the list of chips with the least sure object first, and what is known of one object.
const FIRST_CHIPS = 12;
const CHIP_PX = 196;
const filters = { score: [null, null], confidence: [null, null], area: [null, null] };
const list = { objects: [], length: FIRST_CHIPS, chips: [] };

const VALUES = {
  score: (object) => object.score,
  confidence: (object) => object.confidence,
  area: areaOf,
};

const PLACES = {
  all: () => true,
  one: (object) => object.tiles !== null && object.tiles < 2, // a vector tile does not say
  joined: (object) => object.tiles > 1,
  cut: (object) => object.cut,
  partly: (object) => object.around.has("partly"),
  failed: (object) => object.around.has("failed"),
  gate: (object) => object.around.has("gate"),
  bare: (object) => object.around.has("no imagery"),
};

function within(value, [least, most]) {
  if (least === null && most === null) return true;
  return value !== null && (least === null || value >= least) && (most === null || value <= most);
}

function passes(object) {
  if (!checked("map-query-" + object.query)) return false;
  if (!Object.keys(filters).every((name) => within(VALUES[name](object), filters[name]))) return false;
  return PLACES[part("map-place").value](object);
}

function filter() {
  for (const name of Object.keys(filters)) {
    filters[name] = ["least", "most"].map((end) => {
      const text = part(`map-${name}-${end}`).value;
      return text === "" || Number.isNaN(Number(text)) ? null : Number(text);
    });
  }
  shown.objects = objects.filter(passes);
  if (shown.selected && !passes(shown.selected)) select(null);
  list.objects = [...shown.objects].sort((a, b) => sureness(a) - sureness(b) || a.query - b.query || compareIds(a, b));
  list.length = FIRST_CHIPS;
  part("map-count").textContent = `${shown.objects.length.toLocaleString("en")} of ${objects.length.toLocaleString("en")} objects shown`;
  listChips();
  redraw();
}

// Ids are whole numbers, some beyond what a number of the browser holds.
function compareIds(a, b) {
  return a.id.length - b.id.length || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}

function reset() {
  for (const name of Object.keys(filters)) {
    for (const end of ["least", "most"]) part(`map-${name}-${end}`).value = "";
  }
  mapData.queries.forEach((_, query) => { part("map-query-" + query).checked = true; });
  part("map-place").value = "all";
  filter();
}

function made(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// The chip that the report has of the object, else the map around it.
function chipOf(object) {
  const article = part(`q${object.query}-${object.id}`);
  const picture = article && article.querySelector("img");
  if (picture) {
    const image = made("img");
    image.src = picture.src;
    image.alt = "object " + object.id;
    return image;
  }
  const chip = made("canvas");
  chip.width = CHIP_PX;
  chip.height = CHIP_PX;
  chip.setAttribute("role", "img");
  chip.setAttribute("aria-label", "object " + object.id);
  list.chips.push({ chip, object });
  return chip;
}

function drawChip(chip, object) {
  const target = chip.getContext("2d");
  const [x0, y0, x1, y1] = object.box;
  const side = Math.max((x1 - x0) * 1.7, (y1 - y0) * 1.7, 24);
  const scale = CHIP_PX / side;
  const left = (x0 + x1 - side) / 2;
  const top = (y0 + y1 - side) / 2;
  target.setTransform(1, 0, 0, 1, 0, 0);
  target.fillStyle = "#e2e5ea";
  target.fillRect(0, 0, CHIP_PX, CHIP_PX);
  target.setTransform(scale, 0, 0, scale, -left * scale, -top * scale);
  drawPicture(target, [left, top, left + side, top + side], scale);
  outline(target, object, 1, 1.6);
}

function drawChips() {
  for (const { chip, object } of list.chips) if (chip.isConnected) drawChip(chip, object);
}

function marks(object) {
  const size = `${figure(areaOf(object))} ${mapData.area_unit}`;
  const told = [`score ${object.score.toFixed(2)}`];
  if (object.confidence !== null) told.unshift(`confidence ${object.confidence.toFixed(2)}`);
  told.push(size);
  if (object.tiles > 1) told.push(`${object.tiles} tiles`);
  if (object.cut) told.push("cut off");
  return told.join(" · ");
}

function nameOf(object) {
  return object.label || mapData.queries[object.query].text;
}

function card(object) {
  const article = made("article");
  const dot = made("i");
  dot.style.background = mapData.queries[object.query].colour;
  const name = made("p", "name");
  name.append(dot, nameOf(object));
  const button = made("button", "mapchip");
  button.type = "button";
  button.append(chipOf(object));
  button.addEventListener("click", () => go(object));
  article.append(button, name, made("p", "marks", marks(object)));
  return article;
}

function listChips() {
  list.chips = [];
  const first = list.objects.slice(0, list.length);
  part("map-list").replaceChildren(...first.map(card));
  part("map-list-title").textContent = `Lowest ${hasConfidence ? "confidence" : "score"} first: ${first.length} of ${list.objects.length.toLocaleString("en")}`;
  part("map-more").hidden = list.objects.length <= list.length;
  drawChips();
}

function select(object) {
  shown.selected = object;
  part("map-object").replaceChildren(...(object ? facts(object) : []));
  redraw();
}

// Selects and goes there.
function go(object) {
  select(object);
  if (object) showBox(object.box);
}

function step(by) {
  if (!list.objects.length) return;
  const at = list.objects.indexOf(shown.selected);
  const next = at < 0 ? (by > 0 ? 0 : list.objects.length - 1) : (at + by + list.objects.length) % list.objects.length;
  go(list.objects[next]);
}

function facts(object) {
  const rows = [
    ["query", mapData.queries[object.query].text],
    ["label", object.label || "none"],
    ["score", object.score.toFixed(4)],
    ["confidence", object.confidence === null ? null : object.confidence.toFixed(4)],
    ["area", object.area_m2 === null ? null : `${figure(object.area_m2)} ${mapData.area_unit}`],
    ["pixels", object.area_px === null ? null : figure(object.area_px)],
    ["tiles", object.tiles === null ? null : String(object.tiles)],
    ["cut off", object.cut === null ? null : object.cut ? "yes: it goes on where nothing was judged" : "no"],
    ["ground", [...object.around].map((name) => (name === "partly" ? "judged in part" : name)).join(", ")],
    ["id", object.id],
    ["why", object.why === undefined ? "not in this page for want of room" : object.why || "nothing was said"],
  ];
  const table = made("table", "mapfacts");
  for (const [name, value] of rows) {
    if (value === null) continue;
    const row = made("tr");
    row.append(made("td", "", name), made("td", "", value));
    table.append(row);
  }
  return [table, chipAlone(object)];
}

function chipAlone(object) {
  const chip = chipOf(object);
  chip.classList.add("mapown");
  drawChips();
  if (chip.tagName === "CANVAS") drawChip(chip, object);
  return chip;
}

// What the map does not show, in words: never nothing.
function notes() {
  const told = [];
  const finest = pictures[pictures.length - 1];
  if (!finest) told.push("The imagery was not at hand when this page was made.");
  else if (finest.w < place.width) {
    told.push(`One pixel of the picture is ${figure(place.width / finest.w)} pixels of the run: closer up it is coarse. Chips are sharper.`);
  }
  const drawn = objects.length;
  if (squares) {
    told.push(`Of ${mapData.objects.n.toLocaleString("en")} objects, ${drawn.toLocaleString("en")} are in this page, the largest and those of the lowest scores; filters and list know these alone. Orange squares count all, by query. All are in instances/. ${mesh ? "Vector tiles show all: make them with jobs/export_results.py --pmtiles, and choose the file below the map, or drop it on the map." : "Vector tiles cannot be shown here, for the run is nowhere on Earth, near a pole, or on both sides of the date line."}`);
  }
  if (squares && mesh && mesh.off_px > 0.5) told.push(`Vector tiles lie up to ${figure(mesh.off_px)} pixels beside their place.`);
  if (mapData.objects.reduced) told.push("Outlines are simplified.");
  if (ground.shared) told.push("Several tiles share a square, which shows failed before found, and found before empty.");
  if (mapData.queries.length > 1) told.push("Of several queries, tiles show failed before found, and found before empty.");
  if (!isAssessed) told.push("No review of this run is in this page, so there are scores and no confidences.");
  part("map-notes").textContent = told.join(" ");
}
