"""The program of the review page. It touches the page and the browser's storage, nothing else."""

SCRIPT = r"""
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const part = id => document.getElementById(id);
const rows = data.rows;
let state = {at: 0, marks: {}, past: []};  // marks: row -> label, or null if it was skipped
let showsModel = false, keeps = true;

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(data.key));
    if (kept && kept.marks && kept.past) state = kept;
  } catch { keeps = false; }
}

function keep() {
  try { localStorage.setItem(data.key, JSON.stringify(state)); } catch { keeps = false; }
}

function mark(label) {
  if (state.at >= rows.length) return;
  const row = rows[state.at].row;
  state.past.push([state.at, row, row in state.marks ? [state.marks[row]] : []]);
  state.marks[row] = label;
  state.at += 1;
  keep();
  draw();
}

function undo() {
  const last = state.past.pop();
  if (!last) return;
  const [at, row, before] = last;
  if (before.length) state.marks[row] = before[0]; else delete state.marks[row];
  state.at = at;
  keep();
  draw();
}

function move(by) {
  state.at = Math.max(0, Math.min(rows.length, state.at + by));
  keep();
  draw();
}

function isDone(row) { return typeof state.marks[row.row] === "string"; }

// Control characters have pictures of their own in Unicode, from U+2400 on.
function visible(text) {
  return text.replace(/[\0-\x08\x0b\x0c\x0e-\x1f]/g,
    c => String.fromCharCode(0x2400 + c.charCodeAt(0))).replace(/\x7f/g, "\u2421");
}

function draw() {
  const done = rows.filter(isDone).length, sample = rows.filter(r => r.weight !== null);
  const skipped = rows.filter(r => state.marks[r.row] === null).length;
  part("progress").max = rows.length;
  part("progress").value = done;
  part("count").textContent = `${done} of ${rows.length} labelled, ${skipped} skipped; random ` +
    `sample: ${sample.filter(isDone).length} of ${sample.length}` +
    (keeps ? "" : "; this browser keeps nothing, so save before you close the page");
  const row = rows[state.at];
  part("work").hidden = !row;
  part("end").hidden = !!row;
  for (const button of document.querySelectorAll("button[data-label]")) {
    const own = row && state.marks[row.row] === data.classes[button.dataset.label][1];
    button.setAttribute("aria-pressed", own ? "true" : "false");
  }
  if (!row) return;
  const repeats = row.repeats > 1 ? `, ${row.repeats} rows like it` : "";
  part("where").textContent = `${state.at + 1}. Line ${row.line}: ` +
    row.whys.map(why => data.whys[why]).join(", ") + repeats;
  part("text").textContent = visible(row.text) || "(empty)";
  part("text").classList.toggle("soft", !row.text);
  part("text").scrollTop = 0;
  const score = row.score === null ? "" : `, score ${row.score.toFixed(6)}`;
  part("model").textContent = showsModel ? `The model said ${visible(row.label)}${score}` : "";
  part("state").textContent = row.row in state.marks
    ? (state.marks[row.row] === null ? "skipped" : `labelled ${state.marks[row.row]}`) : "";
}

function quote(value) { return '"' + String(value ?? "").replaceAll('"', '""') + '"'; }

function save() {
  const lines = [["text", "label", "predicted", "score", "line", "row", "why", "weight"]];
  for (const row of rows.filter(isDone)) {
    lines.push([row.text, state.marks[row.row], row.label, row.score, row.line, row.row,
      row.whys.join(" "), row.weight]);
  }
  const csv = lines.map(line => line.map(quote).join(",") + "\n").join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv], {type: "text/csv"}));
  link.download = "corrections.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const actions = {
  skip: () => mark(null), undo, save, back: () => move(-1), next: () => move(1),
  model: () => { showsModel = !showsModel; draw(); },
};
const keys = {" ": "skip", Backspace: "undo", ArrowLeft: "back", ArrowRight: "next", "?": "model"};

document.addEventListener("keydown", event => {
  if (event.altKey) return;
  if (event.ctrlKey || event.metaKey) {
    if (event.key.toLowerCase() === "s") { event.preventDefault(); save(); }
    return;
  }
  const found = data.classes.find(([letter]) => letter === event.key.toLowerCase());
  if (!found && !(event.key in keys)) return;
  event.preventDefault();
  if (document.activeElement.tagName === "BUTTON") document.activeElement.blur();
  if (found) mark(found[1]); else actions[keys[event.key]]();
});
document.addEventListener("click", event => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.label !== undefined) mark(data.classes[button.dataset.label][1]);
  else actions[button.dataset.action]();
});

load();
draw();
"""
