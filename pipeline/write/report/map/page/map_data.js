"use strict";
// The data of the map, unpacked: objects with their outlines, tiles, pictures. Nothing is fetched.
const mapData = JSON.parse(document.getElementById("map-data").textContent);
const later = JSON.parse(document.getElementById("later").textContent);
const place = mapData.place;
const part = (name) => document.getElementById(name);

function bytesOf(text) {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}

// Whole numbers of seven bits a byte, the lowest first; beyond 2^31 by multiplication.
function numbersOf(bytes) {
  const numbers = [];
  let value = 0;
  let weight = 1;
  for (const byte of bytes) {
    value += (byte & 127) * weight;
    weight *= 128;
    if (byte < 128) {
      numbers.push(value);
      value = 0;
      weight = 1;
    }
  }
  return numbers;
}

function signed(number) {
  return number % 2 ? -(number + 1) / 2 : number / 2;
}

function rasterOf(ground) {
  const codes = new Uint8Array(ground.rows * ground.cols);
  const pairs = numbersOf(bytesOf(ground.codes));
  let at = 0;
  for (let i = 0; i < pairs.length; i += 2) {
    codes.fill(pairs[i], at, at + pairs[i + 1]);
    at += pairs[i + 1];
  }
  return codes;
}

const ground = { ...mapData.ground, codes: rasterOf(mapData.ground) };

// Calls back with every ring of every object, as a list of x, y in pixels of the grid.
function eachRing(packed, seen) {
  const rings = numbersOf(bytesOf(packed.rings));
  const points = numbersOf(bytesOf(packed.points));
  const steps = numbersOf(bytesOf(packed.steps));
  let ring = 0;
  let step = 0;
  let x = 0;
  let y = 0;
  rings.forEach((count, object) => {
    for (let i = 0; i < count; i += 1) {
      const line = [];
      for (let j = points[ring]; j > 0; j -= 1) {
        x += signed(steps[step]);
        y += signed(steps[step + 1]);
        step += 2;
        line.push(x * packed.step, y * packed.step);
      }
      ring += 1;
      seen(object, line);
    }
  });
}

function confidenceOf(query, score) {
  const curve = later.curves && later.curves[query];
  return curve ? 1 / (1 + Math.exp(-(curve.slope * score + curve.intercept))) : null;
}

// States of the ground under and around bounds: a list of names.
function statesAround(box, margin) {
  const [w, h] = ground.cell;
  const names = new Set();
  for (let row = Math.floor((box[1] - margin) / h); row <= Math.floor((box[3] + margin) / h); row += 1) {
    for (let col = Math.floor((box[0] - margin) / w); col <= Math.floor((box[2] + margin) / w); col += 1) {
      if (row < 0 || col < 0 || row >= ground.rows || col >= ground.cols) continue;
      const code = ground.codes[row * ground.cols + col];
      names.add(ground.names[code >> 1]);
      if (code & 1) names.add("partly");
    }
  }
  return names;
}

function objectsOf(packed) {
  const objects = packed.query.map((query, i) => ({
    query,
    id: packed.id[i],
    score: packed.score[i],
    confidence: confidenceOf(query, packed.score[i]),
    area_px: packed.area_px[i],
    area_m2: packed.area_m2[i],
    tiles: packed.tiles[i],
    cut: packed.cut[i] === 1,
    label: packed.texts[packed.label[i]],
    why: packed.texts[packed.why[i]],
    rings: [],
    box: [Infinity, Infinity, -Infinity, -Infinity],
  }));
  eachRing(packed, (at, line) => {
    const object = objects[at];
    object.rings.push(line);
    for (let i = 0; i < line.length; i += 2) {
      object.box[0] = Math.min(object.box[0], line[i]);
      object.box[1] = Math.min(object.box[1], line[i + 1]);
      object.box[2] = Math.max(object.box[2], line[i]);
      object.box[3] = Math.max(object.box[3], line[i + 1]);
    }
  });
  for (const object of objects) object.around = statesAround(object.box, 0.5);
  return objects;
}

function pathOf(object) {
  if (!object.path) {
    object.path = new Path2D();
    for (const line of object.rings) {
      object.path.moveTo(line[0], line[1]);
      for (let i = 2; i < line.length; i += 2) object.path.lineTo(line[i], line[i + 1]);
      object.path.closePath();
    }
  }
  return object.path;
}

const objects = objectsOf(mapData.objects);
const hasConfidence = objects.some((object) => object.confidence !== null);
const isAssessed = Boolean(later.curves);
const squares = mapData.objects.squares && {
  ...mapData.objects.squares,
  counts: mapData.objects.squares.counts.map((text) => numbersOf(bytesOf(text))),
};

function areaOf(object) {
  return object.area_m2 === null ? object.area_px : object.area_m2;
}

function sureness(object) {
  return object.confidence === null ? object.score : object.confidence;
}

// In words, with as many digits as a reader needs.
function figure(value) {
  if (value === 0) return "0";
  const digits = Math.abs(value) >= 1000 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString("en", { maximumFractionDigits: Math.min(digits, 6) });
}
