"use strict";
// Vector tiles of all objects, from a file that the person chooses (PMTiles 3 with Mapbox Vector Tiles 2.1, as
// jobs/export_results.py --pmtiles writes them). It is read in pieces, on this machine; nothing is sent.
const HEADER_BYTES = 127;
const MOST_TILES = 96;
const MOST_DIRECTORIES = 32;
const MOST_LEAVES = 3;
const GZIP = 2;
const PLAIN = 1;
const MVT = 1;
const vectorFile = { archive: null, tiles: new Map(), unknown: new Set() };
const known = new Set(objects.map((object) => `${object.query}-${object.id}`));

// Where a place of the web's map (u to the east, v to the south, 0..1) lies in the grid, between known places.
const mesh = place.mesh && unpackMesh(place.mesh);

function unpackMesh(packed) {
  const steps = numbersOf(bytesOf(packed.steps)).map(signed);
  const xy = new Float64Array(steps.length);
  const before = [0, 0];
  steps.forEach((step, i) => {
    before[i % 2] += step;
    xy[i] = before[i % 2] / packed.parts;
  });
  return { ...packed, xy };
}

function toGrid(u, v) {
  const n = mesh.n - 1;
  const across = ((u - mesh.box[0]) / (mesh.box[2] - mesh.box[0])) * n;
  const down = ((v - mesh.box[1]) / (mesh.box[3] - mesh.box[1])) * n;
  const col = Math.min(Math.max(Math.floor(across), 0), n - 1);
  const row = Math.min(Math.max(Math.floor(down), 0), n - 1);
  const fx = across - col;
  const fy = down - row;
  const at = (r, c, k) => mesh.xy[2 * (r * mesh.n + c) + k];
  return [0, 1].map((k) => (1 - fy) * ((1 - fx) * at(row, col, k) + fx * at(row, col + 1, k))
    + fy * ((1 - fx) * at(row + 1, col, k) + fx * at(row + 1, col + 1, k)));
}

// The other way round, by Newton's method with the slopes of the whole mesh.
function fromGrid(x, y) {
  const [u0, v0, u1, v1] = mesh.box;
  const corner = toGrid(u0, v0);
  const east = toGrid(u1, v0);
  const south = toGrid(u0, v1);
  const [a, c] = [(east[0] - corner[0]) / (u1 - u0), (east[1] - corner[1]) / (u1 - u0)];
  const [b, d] = [(south[0] - corner[0]) / (v1 - v0), (south[1] - corner[1]) / (v1 - v0)];
  const determinant = a * d - b * c;
  let u = (u0 + u1) / 2;
  let v = (v0 + v1) / 2;
  for (let i = 0; i < 12; i += 1) {
    const now = toGrid(u, v);
    u += (d * (x - now[0]) - b * (y - now[1])) / determinant;
    v += (a * (y - now[1]) - c * (x - now[0])) / determinant;
  }
  return [u, v];
}

async function unpacked(blob, compression) {
  if (compression === PLAIN) return new Uint8Array(await blob.arrayBuffer());
  if (compression !== GZIP) throw new Error("its compression is not gzip");
  const stream = blob.stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function openArchive(file) {
  const bytes = new DataView(await file.slice(0, HEADER_BYTES).arrayBuffer());
  const name = bytes.byteLength === HEADER_BYTES ? String.fromCharCode(...new Uint8Array(bytes.buffer, 0, 7)) : "";
  if (name !== "PMTiles" || bytes.getUint8(7) !== 3) throw new Error("it is no PMTiles file of version 3");
  if (bytes.getUint8(99) !== MVT) throw new Error("its tiles are not vector tiles");
  const long = (at) => Number(bytes.getBigUint64(at, true));
  const archive = {
    file,
    root: [long(8), long(16)],
    leaves: long(40),
    data: long(56),
    inner: bytes.getUint8(97),
    outer: bytes.getUint8(98),
    zooms: [bytes.getUint8(100), bytes.getUint8(101)],
    directories: new Map(),
  };
  const [west, south, east, north] = [102, 106, 110, 114].map((at) => bytes.getInt32(at, true) / 1e7);
  const [low, high] = [[west, north], [east, south]].map(([lon, lat]) => mercator(lon, lat));
  if (low[0] > mesh.box[2] || high[0] < mesh.box[0] || low[1] > mesh.box[3] || high[1] < mesh.box[1]) {
    throw new Error("it shows another place");
  }
  const about = JSON.parse(new TextDecoder().decode(await unpacked(file.slice(long(24), long(24) + long(32)), archive.inner)));
  const [, result] = /^objects of result (\S+)$/.exec(about.name) || [];
  if (result && mapData.result && result !== mapData.result) throw new Error("it is of another result of this run, or of another run");
  archive.named = Boolean(result);
  await directory(archive, ...archive.root);
  return archive;
}

function mercator(lon, lat) {
  const phi = (Math.min(Math.max(lat, -85.05), 85.05) * Math.PI) / 180;
  return [lon / 360 + 0.5, 0.5 - Math.log(Math.tan(Math.PI / 4 + phi / 2)) / (2 * Math.PI)];
}

// Entries of a directory, by tile id: where each begins, how many tiles it serves (0: a leaf), its bytes.
async function directory(archive, offset, length) {
  if (!archive.directories.has(offset)) {
    if (archive.directories.size >= MOST_DIRECTORIES) archive.directories.delete(archive.directories.keys().next().value);
    archive.directories.set(offset, readDirectory(archive, offset, length));
  }
  return archive.directories.get(offset);
}

async function readDirectory(archive, offset, length) {
  const numbers = numbersOf(await unpacked(archive.file.slice(offset, offset + length), archive.inner));
  const n = numbers[0];
  const column = (at) => numbers.slice(1 + at * n, 1 + (at + 1) * n);
  const [steps, runs, lengths, offsets] = [0, 1, 2, 3].map(column);
  let id = 0;
  let end = 0;
  return steps.map((step, i) => {
    id += step;
    const start = offsets[i] === 0 ? end : offsets[i] - 1;
    end = start + lengths[i];
    return { id, run: runs[i], start, length: lengths[i] };
  });
}

// Tiles are numbered along a Hilbert curve, level after level.
function tileId(z, x, y) {
  let id = (4 ** z - 1) / 3;
  let [left, top] = [x, y];
  for (let side = 2 ** (z - 1); side >= 1; side /= 2) {
    const rx = Math.floor(left / side) % 2;
    const ry = Math.floor(top / side) % 2;
    id += side * side * (rx === 1 ? 3 - ry : ry);
    left %= side;
    top %= side;
    if (ry === 0) {
      if (rx === 1) [left, top] = [side - 1 - left, side - 1 - top];
      [left, top] = [top, left];
    }
  }
  return id;
}

async function tileBytes(archive, z, x, y) {
  const id = tileId(z, x, y);
  let [offset, length] = archive.root;
  for (let depth = 0; depth <= MOST_LEAVES; depth += 1) {
    const entries = await directory(archive, offset, length);
    const entry = entries.findLast((each) => each.id <= id);
    if (!entry || (entry.run > 0 && id >= entry.id + entry.run)) return null;
    if (entry.run > 0) {
      const start = archive.data + entry.start;
      return unpacked(archive.file.slice(start, start + entry.length), archive.outer);
    }
    offset = archive.leaves + entry.start;
    length = entry.length;
  }
  return null;
}

// A number that the browser's own would round.
function large(bytes) {
  return bytes.reduceRight((value, byte) => (value << 7n) | BigInt(byte & 127), 0n);
}

// The fields of a Protocol Buffers message: number, and bytes or a number.
function* fieldsOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const varint = () => {
    const first = at;
    let value = 0;
    let weight = 1;
    for (;;) {
      const byte = view.getUint8(at);
      at += 1;
      value += (byte & 127) * weight;
      if (byte < 128) return value <= Number.MAX_SAFE_INTEGER ? value : large(bytes.subarray(first, at));
      weight *= 128;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const kind = key % 8;
    let value;
    if (kind === 0) value = varint();
    else if (kind === 1) [value, at] = [view.getFloat64(at, true), at + 8];
    else if (kind === 5) [value, at] = [view.getFloat32(at, true), at + 4];
    else {
      const length = varint();
      value = bytes.subarray(at, at + length);
      at += length;
    }
    yield [Math.floor(key / 8), value];
  }
}

function messageOf(bytes) {
  const message = {};
  for (const [number, value] of fieldsOf(bytes)) (message[number] = message[number] || []).push(value);
  return message;
}

function valueOf(bytes) {
  for (const [number, value] of fieldsOf(bytes)) {
    if (number === 1) return new TextDecoder().decode(value);
    return number === 6 && typeof value === "number" ? signed(value) : value;
  }
  return null;
}

// Rings in the tile's own units: commands 1 (move), 2 (lines), 7 (close).
function ringsOf(numbers) {
  const rings = [];
  let x = 0;
  let y = 0;
  for (let at = 0; at < numbers.length;) {
    const command = numbers[at] & 7;
    const count = numbers[at] >> 3;
    at += 1;
    if (command === 7) continue;
    for (let i = 0; i < count && at + 1 < numbers.length; i += 1) {
      x += signed(numbers[at]);
      y += signed(numbers[at + 1]);
      at += 2;
      if (command === 1 || !rings.length) rings.push([]);
      rings[rings.length - 1].push(x, y);
    }
  }
  return rings;
}

function objectsOfTile(bytes, z, x, y) {
  const found = [];
  for (const bytesOfLayer of messageOf(bytes)[3] || []) {
    const layer = messageOf(bytesOfLayer);
    const names = (layer[3] || []).map((text) => new TextDecoder().decode(text));
    const values = (layer[4] || []).map(valueOf);
    const unit = 2 ** -z / ((layer[5] && layer[5][0]) || 4096);
    for (const bytesOfFeature of layer[2] || []) {
      const feature = messageOf(bytesOfFeature);
      const tags = feature[2] ? numbersOf(feature[2][0]) : [];
      const told = {};
      for (let i = 0; i < tags.length; i += 2) told[names[tags[i]]] = values[tags[i + 1]];
      const rings = ringsOf(numbersOf(feature[4][0])).map((ring) => placed(ring, unit, 2 ** -z * x, 2 ** -z * y));
      const object = objectOf(told, rings);
      if (object) found.push(object);
    }
  }
  return found;
}

function placed(ring, unit, left, top) {
  const line = [];
  for (let i = 0; i < ring.length; i += 2) line.push(...toGrid(left + ring[i] * unit, top + ring[i + 1] * unit));
  return line;
}

function objectOf(told, rings) {
  const words = (text) => String(text).split(/\s+/).join(" ").trim();
  const query = mapData.queries.findIndex((each) => words(each.text) === words(told.query));
  if (query < 0) {
    vectorFile.unknown.add(words(told.query));
    return null;
  }
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const line of rings) {
    for (let i = 0; i < line.length; i += 2) {
      box[0] = Math.min(box[0], line[i]);
      box[1] = Math.min(box[1], line[i + 1]);
      box[2] = Math.max(box[2], line[i]);
      box[3] = Math.max(box[3], line[i + 1]);
    }
  }
  const score = Number(told.score);
  return {
    query,
    id: String(told.instance_id),
    score,
    confidence: confidenceOf(query, score),
    area_px: null,
    area_m2: told.area_m2 === undefined ? null : Number(told.area_m2),
    tiles: null,
    cut: null,
    label: told.label || "",
    why: told.rationale || "",
    rings,
    box,
    around: statesAround(box, 0.5),
  };
}

function tileAt(z, x, y) {
  const name = `${z}/${x}/${y}`;
  const kept = vectorFile.tiles.get(name);
  if (kept) return kept;
  if (vectorFile.tiles.size >= MOST_TILES) vectorFile.tiles.delete(vectorFile.tiles.keys().next().value);
  const corners = [[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]].map(([u, v]) => toGrid(2 ** -z * u, 2 ** -z * v));
  const tile = { objects: [], read: false, quad: new Path2D(`M${corners.map((each) => each.join(",")).join("L")}Z`) };
  vectorFile.tiles.set(name, tile);
  tileBytes(vectorFile.archive, z, x, y)
    .then((bytes) => {
      if (bytes) tile.objects = objectsOfTile(bytes, z, x, y);
      tellUnknown();
    })
    .catch((error) => { part("map-file-said").textContent = `A tile cannot be read: ${error.message}.`; })
    .finally(() => {
      tile.read = true;
      redraw();
    });
  return tile;
}

// Tiles over bounds of the grid, at the level whose tiles are about 512 pixels of the screen.
function tilesOver(box) {
  const corners = [[box[0], box[1]], [box[2], box[1]], [box[0], box[3]], [box[2], box[3]]].map(([x, y]) => fromGrid(x, y));
  const us = corners.map((each) => each[0]);
  const vs = corners.map((each) => each[1]);
  const share = (Math.max(...us) - Math.min(...us)) / canvas.clientWidth;
  const [least, most] = vectorFile.archive.zooms;
  const z = Math.min(Math.max(Math.round(-Math.log2(share * 512)), least), most);
  const [x0, x1] = [Math.min(...us), Math.max(...us)].map((u) => Math.floor(Math.min(Math.max(u, 0), 1 - 1e-12) * 2 ** z));
  const [y0, y1] = [Math.min(...vs), Math.max(...vs)].map((v) => Math.floor(Math.min(Math.max(v, 0), 1 - 1e-12) * 2 ** z));
  const tiles = [];
  for (let y = y0; y <= y1 && tiles.length < MOST_TILES / 2; y += 1) {
    for (let x = x0; x <= x1 && tiles.length < MOST_TILES / 2; x += 1) tiles.push(tileAt(z, x, y));
  }
  return tiles;
}

// What the file has beside the objects of the page, as far as the filters let it through, tile by tile. Objects
// reach a little over the edge of their tile: they are drawn inside of it alone.
function tilesWithMore(box) {
  const inside = [Math.max(box[0], 0), Math.max(box[1], 0), Math.min(box[2], place.width), Math.min(box[3], place.height)];
  const tiles = tilesOver(inside);
  waiting += tiles.filter((tile) => !tile.read).length;
  return tiles.map((tile) => ({
    quad: tile.quad,
    objects: tile.objects.filter((object) => !known.has(`${object.query}-${object.id}`) && passes(object)),
  }));
}

function tellUnknown() {
  if (vectorFile.unknown.size) {
    part("map-file-said").textContent = `Not drawn, for they answer no query of this run: objects of "${[...vectorFile.unknown][0]}".`;
  }
}

async function chooseFile(file) {
  try {
    const archive = await openArchive(file);
    vectorFile.archive = archive;
    vectorFile.tiles.clear();
    vectorFile.unknown.clear();
    moreTiles = tilesWithMore;
    part("map-file-said").textContent = `The objects of ${file.name} are drawn, too. From far away small ones may be missing. List and count are of the ${objects.length.toLocaleString("en")} in this page.${archive.named ? "" : " The file does not say which run it is of."}`;
  } catch (error) {
    part("map-file-said").textContent = `${file.name} cannot be used: ${error.message}.`;
  }
  redraw();
}

if (mesh && squares) {
  part("map-file-part").hidden = false;
  part("map-file").addEventListener("change", (event) => event.target.files[0] && chooseFile(event.target.files[0]));
  canvas.addEventListener("dragover", (event) => event.preventDefault());
  canvas.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) chooseFile(event.dataTransfer.files[0]);
  });
}
