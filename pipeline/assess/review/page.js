"use strict";
// The review page: one unit at a time, a key per answer. Nothing is sent anywhere. Answers stay in the browser
// (localStorage, where it allows that) and leave it as a file.
const design = JSON.parse(document.getElementById("design").textContent);
const items = design.items;
const key = "terraquery-review-" + design.design_id;
const NAMES = { object: "Objects", cell: "Squares", point: "Points", change: "Points at two dates" };
const QUESTIONS = {
  object: "Is the bright outline one of these, and mainly right?",
  cell: "How many of these were missed in the white square? Count those whose middle lies in it and that no outline shows well; on grey ground none counts.",
  point: "Is there one of these under the cross?",
  change: "When is there one of these under the cross? The first date is on the left, the second on the right.",
};
const KEYS = {
  object: [["y", "yes"], ["n", "no"], ["u", "unsure"]],
  cell: [["n", "none missed"], ["m", "one more missed"], ["u", "unsure"]],
  point: [["y", "yes"], ["n", "no"], ["u", "unsure"]],
  change: [["n", "never"], ["1", "first date only"], ["2", "second date only"], ["3", "both"], ["u", "unsure"]],
};
const CHANGES = { n: "neither", 1: "lost", 2: "gained", 3: "both" };
const LABELS = ["yes", "no", "missed", "unsure", ...Object.values(CHANGES)];
let answers = {};
let place = 0;
let unsaved = false;

const part = (name) => document.getElementById(name);

function keep() {
  unsaved = true;
  try {
    localStorage.setItem(key, JSON.stringify({ answers, place, reviewer: part("reviewer").value }));
  } catch (error) {
    part("kept").textContent = "This browser keeps nothing: save often.";
  }
}

function restore() {
  try {
    const kept = JSON.parse(localStorage.getItem(key) || "null");
    if (!kept) return;
    take(kept.answers);
    place = Math.min(Math.max(Number(kept.place) || 0, 0), items.length - 1);
    part("reviewer").value = kept.reviewer || "";
  } catch (error) {
    part("kept").textContent = "What was kept before could not be read.";
  }
}

// Only answers to units of this page count, whatever a file holds.
function take(given) {
  const known = new Map(items.map((item) => [item.id, item.kind]));
  let taken = 0;
  for (const [id, answer] of Object.entries(given || {})) {
    if (!known.has(id) || !answer || !LABELS.includes(answer.label)) continue;
    answers[id] = { label: answer.label };
    if (known.get(id) === "cell" && answer.label !== "unsure") answers[id].n_missed = Number(answer.n_missed) || 0;
    taken += 1;
  }
  return taken;
}

function svg(item, outlined) {
  const lines = [];
  const path = (d, name) => d && lines.push(`<path class="${name}" d="${d}"/>`);
  path(item.unjudged, "unjudged");
  if (outlined) {
    path(item.others, "casing");
    path(item.others, "other");
    path(item.own, "casing");
    path(item.own, "own");
  }
  if (item.frame) {
    const [x, y, w, h] = item.frame;
    lines.push(`<rect class="square" x="${x}" y="${y}" width="${w}" height="${h}"/>`);
  }
  if (item.cross) {
    const [x, y] = item.cross;
    path(`M${x - 16},${y}H${x - 4}M${x + 4},${y}H${x + 16}M${x},${y - 16}V${y - 4}M${x},${y + 4}V${y + 16}`, "cross");
  }
  return `<svg viewBox="0 0 ${item.width} ${item.height}">${lines.join("")}</svg>`;
}

function picture(item, outlined) {
  const figure = document.createElement("figure");
  if (item.jpeg) {
    const image = document.createElement("img");
    image.src = "data:image/jpeg;base64," + item.jpeg;
    image.alt = outlined ? "imagery with outlines" : "imagery";
    figure.append(image);
  } else {
    const text = document.createElement("p");
    text.className = "problem";
    text.textContent = "The imagery could not be read: " + item.problem + ". Press u.";
    figure.append(text);
  }
  figure.insertAdjacentHTML("beforeend", svg(item, outlined)); // numbers and paths that were computed, no text
  return figure;
}

function said(item) {
  const answer = answers[item.id];
  if (!answer) return "not answered";
  if (item.kind === "cell" && answer.label !== "unsure") {
    return answer.n_missed ? answer.n_missed + " missed: Enter goes on" : "none missed";
  }
  return Object.fromEntries(KEYS.change.map(([letter, name]) => [CHANGES[letter], name]))[answer.label] || answer.label;
}

function show() {
  const item = items[place];
  const same = items.filter((each) => each.kind === item.kind && each.query_index === item.query_index);
  const done = items.filter((each) => answers[each.id]).length;
  part("query").textContent = design.queries[item.query_index];
  part("kind").textContent = `${NAMES[item.kind]}: ${same.indexOf(item) + 1} of ${same.length}`;
  part("question").textContent = QUESTIONS[item.kind];
  part("said").textContent = said(item);
  part("said").className = answers[item.id] ? answers[item.id].label : "";
  part("done").textContent = `${done} of ${items.length} answered`;
  part("bar").max = items.length;
  part("bar").value = done;
  part("pictures").replaceChildren(picture(item, false));
  if (item.kind === "change") part("pictures").append(picture({ ...item, jpeg: item.later }, false));
  else if (item.kind !== "point") part("pictures").append(picture(item, true));
  const buttons = KEYS[item.kind].map(([letter, name]) => button(letter, name, () => press(letter)));
  buttons.push(button("b", "back", () => press("b")), button("Enter", "next", () => press("Enter")));
  part("keys").replaceChildren(...buttons);
  part("end").hidden = done < items.length;
}

function button(letter, name, act) {
  const made = document.createElement("button");
  const cap = document.createElement("kbd");
  cap.textContent = letter;
  made.append(cap, " " + name);
  made.addEventListener("click", act);
  return made;
}

function go(step) {
  place = Math.min(Math.max(place + step, 0), items.length - 1);
}

function press(pressed) {
  const item = items[place];
  const cell = item.kind === "cell";
  const missed = (answers[item.id] && answers[item.id].n_missed) || 0;
  if (pressed === "b" || pressed === "ArrowLeft") go(-1);
  else if (pressed === "Enter" || pressed === "ArrowRight") go(1);
  else if (pressed === "s") return save();
  else if (pressed === "u") answer(item, { label: "unsure" });
  else if (item.kind === "change") {
    if (!CHANGES[pressed]) return;
    answer(item, { label: CHANGES[pressed] });
  }
  else if (pressed === "n") answer(item, cell ? { label: "no", n_missed: 0 } : { label: "no" });
  else if (pressed === "y" && !cell) answer(item, { label: "yes" });
  else if (pressed === "m" && cell) answers[item.id] = { label: "missed", n_missed: missed + 1 };
  else if (/^[1-9]$/.test(pressed) && cell) answers[item.id] = { label: "missed", n_missed: Number(pressed) };
  else return;
  keep();
  show();
}

function answer(item, given) {
  answers[item.id] = given;
  go(1);
}

function save() {
  const content = {
    terraquery_labels: 1,
    design_id: design.design_id,
    run_fingerprint: design.fingerprint,
    reviewer: part("reviewer").value,
    saved: new Date().toISOString(),
    labels: answers,
  };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }));
  link.download = `labels-${design.design_id}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  unsaved = false;
  part("kept").textContent = "Saved as " + link.download;
}

async function load(file) {
  try {
    const given = JSON.parse(await file.text());
    if (given.design_id !== design.design_id) {
      part("kept").textContent = "That file answers another sample: nothing was taken from it.";
      return;
    }
    part("kept").textContent = take(given.labels) + " answers taken from the file";
    part("reviewer").value = given.reviewer || part("reviewer").value;
    keep();
    show();
  } catch (error) {
    part("kept").textContent = "That file could not be read.";
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT") return;
  if (event.key === "Enter" && event.target.tagName === "BUTTON") return;
  press(event.key.length === 1 ? event.key.toLowerCase() : event.key);
});
part("save").addEventListener("click", save);
part("load").addEventListener("change", (event) => event.target.files[0] && load(event.target.files[0]));
part("reviewer").addEventListener("change", keep);
addEventListener("beforeunload", (event) => unsaved && event.preventDefault());
restore();
show();
