"use strict";
// The canvas: pictures, tiles, outlines and seams, moved and scaled. (view.x, view.y) is the middle, in pixels of
// the grid; view.scale is screen pixels per pixel of the grid.
const canvas = part("map-canvas");
const pen = canvas.getContext("2d");
const view = { x: 0, y: 0, scale: 1 };
const shown = { objects: objects, tiles: [], selected: null };
const SMALL_PX = 4;
const MANY = 5000;
const MARGIN = 0.02;
let drawing = false;
let waiting = 0; // pictures and vector tiles that a drawing still lacks; the canvas tells it as data-waiting
let moreTiles = null; // what a chosen file of vector tiles has within bounds, once there is one

const pictures = mapData.levels.map((level) => ({
  ...level,
  cols: Math.ceil(level.w / level.tile),
  images: level.tiles.map(() => null),
}));

const borders = mapData.borders && bordersOf(mapData.borders); // of zones

function bordersOf(packed) {
  const path = new Path2D();
  eachRing(packed, (_, line) => {
    path.moveTo(line[0], line[1]);
    for (let i = 2; i < line.length; i += 2) path.lineTo(line[i], line[i + 1]);
    path.closePath();
  });
  return path;
}

function checked(name) {
  const box = part(name);
  return Boolean(box && box.checked);
}

function fitScale() {
  const most = 1 - 2 * MARGIN;
  return Math.min((canvas.clientWidth * most) / place.width, (canvas.clientHeight * most) / place.height);
}

function fit() {
  view.x = place.width / 2;
  view.y = place.height / 2;
  view.scale = fitScale();
  redraw();
}

function resized() {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(canvas.clientHeight * ratio);
  redraw();
}

// Bounds of what is seen, in pixels of the grid.
function seen() {
  const w = canvas.clientWidth / view.scale / 2;
  const h = canvas.clientHeight / view.scale / 2;
  return [view.x - w, view.y - h, view.x + w, view.y + h];
}

function gridAt(screenX, screenY) {
  const box = seen();
  return [box[0] + screenX / view.scale, box[1] + screenY / view.scale];
}

function hold() {
  const least = fitScale() / 2;
  view.scale = Math.min(Math.max(view.scale, least), Math.max(least * 4, 32));
  view.x = Math.min(Math.max(view.x, 0), place.width);
  view.y = Math.min(Math.max(view.y, 0), place.height);
}

// Zooms and keeps what is under a place of the screen there.
function zoomAt(factor, screenX, screenY) {
  const [x, y] = gridAt(screenX, screenY);
  view.scale *= factor;
  hold();
  view.x = x - (screenX - canvas.clientWidth / 2) / view.scale;
  view.y = y - (screenY - canvas.clientHeight / 2) / view.scale;
  hold();
  redraw();
}

function move(right, down) {
  view.x += right / view.scale;
  view.y += down / view.scale;
  hold();
  redraw();
}

function showBox(box) {
  const side = Math.max(box[2] - box[0], box[3] - box[1], 8);
  view.x = (box[0] + box[2]) / 2;
  view.y = (box[1] + box[3]) / 2;
  view.scale = (0.35 * Math.min(canvas.clientWidth, canvas.clientHeight)) / side;
  hold();
  redraw();
}

function touches(box, other) {
  return box[0] <= other[2] && box[2] >= other[0] && box[1] <= other[3] && box[3] >= other[1];
}

function redraw() {
  if (drawing) return;
  drawing = true;
  canvas.dataset.waiting = "drawing";
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

function draw() {
  const ratio = canvas.width / Math.max(canvas.clientWidth, 1);
  const box = seen();
  waiting = 0;
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.fillStyle = "#10141a";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  const scale = view.scale * ratio;
  pen.setTransform(scale, 0, 0, scale, -box[0] * scale, -box[1] * scale);
  pen.fillStyle = "#e2e5ea";
  pen.fillRect(0, 0, place.width, place.height);
  if (checked("map-picture")) drawPicture(pen, box, view.scale * ratio);
  drawGround(box);
  shown.tiles = moreTiles ? moreTiles(box) : [];
  if (checked("map-outlines")) {
    if (!moreTiles) drawSquares(box);
    drawTiles(box, ratio);
    drawOutlines(shown.objects, box, ratio);
  }
  if (checked("map-seams")) drawSeams(box, ratio);
  drawSelected(ratio);
  drawScaleBar();
  canvas.dataset.waiting = String(waiting);
}

// The coarsest picture that has a pixel for every one of the screen, else the finest.
function drawPicture(target, box, scale) {
  const level = pictures.find((each) => (each.w / place.width) * 1.2 >= scale) || pictures[pictures.length - 1];
  if (!level) return;
  target.imageSmoothingEnabled = scale * (place.width / level.w) < 4;
  const fx = place.width / level.w;
  const fy = place.height / level.h;
  level.images.forEach((image, i) => {
    const col = i % level.cols;
    const row = Math.floor(i / level.cols);
    const w = Math.min(level.tile, level.w - col * level.tile);
    const h = Math.min(level.tile, level.h - row * level.tile);
    const left = col * level.tile * fx;
    const top = row * level.tile * fy;
    if (!touches(box, [left, top, left + w * fx, top + h * fy])) return;
    if (!image) {
      level.images[i] = new Image();
      level.images[i].onload = pictureCame;
      level.images[i].src = "data:image/webp;base64," + level.tiles[i];
    } else if (image.complete && image.naturalWidth) {
      target.drawImage(image, left, top, w * fx, h * fy);
      return;
    }
    waiting += 1;
  });
}

function pictureCame() {
  redraw();
  drawChips();
}

function drawGround(box) {
  const [w, h] = ground.cell;
  const chosen = ground.names.map((name) => checked("map-ground-" + name.replace(" ", "-")));
  const partly = checked("map-partly");
  if (!chosen.some(Boolean) && !partly) return;
  const from = [Math.max(Math.floor(box[0] / w), 0), Math.max(Math.floor(box[1] / h), 0)];
  const to = [Math.min(Math.ceil(box[2] / w), ground.cols), Math.min(Math.ceil(box[3] / h), ground.rows)];
  const gap = view.scale * w > 24 ? 1 / view.scale : 0;
  for (let row = from[1]; row < to[1]; row += 1) {
    for (let col = from[0]; col < to[0]; col += 1) {
      const code = ground.codes[row * ground.cols + col];
      const name = ground.names[code >> 1];
      const width = Math.min(w, place.width - col * w) - gap;
      const height = Math.min(h, place.height - row * h) - gap;
      if (chosen[code >> 1] && ground.colours[name]) {
        pen.fillStyle = `rgba(${ground.colours[name].join(",")},.42)`;
        pen.fillRect(col * w, row * h, width, height);
      }
      if (partly && code & 1) {
        pen.strokeStyle = "#ffb020";
        pen.lineWidth = 2 / view.scale;
        pen.strokeRect(col * w + 1.5 / view.scale, row * h + 1.5 / view.scale, width - 2 / view.scale, height - 2 / view.scale);
      }
    }
  }
}

// How many objects lie where, for runs of which not all are drawn.
function drawSquares(box) {
  if (!squares) return;
  const asked = squares.counts.filter((_, query) => checked("map-query-" + query));
  if (!asked.length) return;
  const sums = asked[0].map((_, i) => asked.reduce((sum, counts) => sum + counts[i], 0));
  const most = Math.max(...sums);
  sums.forEach((count, i) => {
    const left = (i % squares.cols) * squares.side;
    const top = Math.floor(i / squares.cols) * squares.side;
    if (!count || !touches(box, [left, top, left + squares.side, top + squares.side])) return;
    pen.fillStyle = `rgba(255,120,0,${(0.12 + (0.5 * Math.log1p(count)) / Math.log1p(most)).toFixed(3)})`;
    pen.fillRect(left, top, Math.min(squares.side, place.width - left), Math.min(squares.side, place.height - top));
  });
}

function drawTiles(box, ratio) {
  for (const tile of shown.tiles) {
    pen.save();
    pen.clip(tile.quad);
    drawOutlines(tile.objects, box, ratio);
    pen.restore();
  }
}

function drawOutlines(some, box, ratio) {
  const small = [];
  pen.lineJoin = "round";
  for (const object of some) {
    if (!touches(box, object.box)) continue;
    const side = Math.max(object.box[2] - object.box[0], object.box[3] - object.box[1]) * view.scale;
    if (side < SMALL_PX) small.push(object);
    else outline(pen, object, ratio, 1.6);
  }
  const dot = (some.length > MANY ? SMALL_PX / 2 : SMALL_PX) / view.scale;
  for (const object of small) {
    pen.fillStyle = mapData.queries[object.query].colour;
    pen.fillRect((object.box[0] + object.box[2] - dot) / 2, (object.box[1] + object.box[3] - dot) / 2, dot, dot);
  }
}

function outline(target, object, ratio, width) {
  const unit = ratio / target.getTransform().a;
  const path = pathOf(object);
  const colour = mapData.queries[object.query].colour;
  target.fillStyle = colour + "22";
  target.fill(path, "evenodd");
  target.strokeStyle = "rgba(20,20,20,.5)";
  target.lineWidth = (width + 1.6) * unit;
  target.stroke(path);
  target.strokeStyle = colour;
  target.lineWidth = width * unit;
  target.stroke(path);
}

// Where objects were joined: the edges of tiles, and bolder those of blocks, inside of objects of several tiles.
function drawSeams(box, ratio) {
  const lattice = mapData.lattice;
  if (borders) {
    pen.strokeStyle = "#fff";
    pen.lineWidth = (2 * ratio) / pen.getTransform().a;
    pen.stroke(borders);
  }
  if (!lattice) return;
  for (const object of shown.objects) {
    if (object.tiles < 2 || !touches(box, object.box)) continue;
    pen.save();
    pen.clip(pathOf(object), "evenodd");
    for (const [side, width] of [[lattice.core, 1], [lattice.block, 2]]) {
      pen.beginPath();
      for (let x = Math.ceil(object.box[0] / side) * side; x < object.box[2]; x += side) {
        pen.moveTo(x, object.box[1]);
        pen.lineTo(x, object.box[3]);
      }
      for (let y = Math.ceil(object.box[1] / side) * side; y < object.box[3]; y += side) {
        pen.moveTo(object.box[0], y);
        pen.lineTo(object.box[2], y);
      }
      const px = ratio / pen.getTransform().a;
      pen.strokeStyle = "#fff";
      pen.lineWidth = width * px;
      pen.setLineDash([5 * px, 5 * px]);
      pen.stroke();
    }
    pen.restore();
  }
}

function drawSelected(ratio) {
  const object = shown.selected;
  if (!object) return;
  outline(pen, object, ratio, 3);
  const pad = 6 / view.scale;
  pen.strokeStyle = "#fff";
  pen.lineWidth = 1.5 / view.scale;
  pen.strokeRect(object.box[0] - pad, object.box[1] - pad, object.box[2] - object.box[0] + 2 * pad, object.box[3] - object.box[1] + 2 * pad);
}

// Length of a pixel of the grid in units of its CRS: metres, or degrees.
function pixelSize() {
  return place.affine ? Math.hypot(place.affine[0], place.affine[3]) : 1;
}

function drawScaleBar() {
  const most = (120 / view.scale) * pixelSize();
  const power = 10 ** Math.floor(Math.log10(most));
  const length = power * (most / power >= 5 ? 5 : most / power >= 2 ? 2 : 1);
  part("map-scale-bar").style.width = `${((length / pixelSize()) * view.scale).toFixed(1)}px`;
  const kilo = place.unit === "m" && length >= 1000;
  part("map-scale").textContent = `${figure(kilo ? length / 1000 : length)} ${kilo ? "km" : place.unit}`;
}

// The object at a place of the screen: the smallest that holds it, else a small one near it.
function objectAt(screenX, screenY) {
  const [x, y] = gridAt(screenX, screenY);
  const near = 6 / view.scale;
  let found = null;
  pen.save();
  pen.setTransform(1, 0, 0, 1, 0, 0);
  const inTiles = shown.tiles.filter((tile) => pen.isPointInPath(tile.quad, x, y)).flatMap((tile) => tile.objects);
  for (const object of [...inTiles, ...shown.objects]) {
    const [x0, y0, x1, y1] = object.box;
    if (x < x0 - near || x > x1 + near || y < y0 - near || y > y1 + near) continue;
    const small = Math.max(x1 - x0, y1 - y0) < 2 * near;
    if (small || pen.isPointInPath(pathOf(object), x, y, "evenodd")) found = object; // the largest comes first
  }
  pen.restore();
  return found;
}
