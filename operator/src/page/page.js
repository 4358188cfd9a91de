"use strict";
// Asks for a pipeline each two seconds and draws it: splits before their worker, sinks behind it, as `thalweg top` does.
// Whatever comes is set as text, so nothing of it becomes a part of the page.

const EVERY = 2000;
const at = (id) => document.getElementById(id);
const known = (value, show) => (value === null || value === undefined ? "–" : show(value));
const count = (number) => Math.round(number).toLocaleString("en-US");
const seconds = (number) => `${number.toFixed(1)} s`;
const percent = (share) => `${Math.round(100 * share)} %`;
const sum = (values) => (values.some((value) => value === null) ? null : values.reduce((all, one) => all + one, 0));

function cell(text, isNumber) {
  const cell = document.createElement("td");
  cell.textContent = text;
  if (isNumber) cell.className = "number";
  return cell;
}

function share(value) {
  const shown = cell(known(value, percent), true);
  if (value === null || value === undefined) return shown;
  const bar = document.createElement("progress");
  bar.value = value;
  shown.prepend(bar, " ");
  return shown;
}

function age(time) {
  const passed = Math.max(0, Math.round((Date.now() - Date.parse(time)) / 1000));
  if (passed < 60) return `${passed} s`;
  if (passed < 3600) return `${Math.floor(passed / 60)} min`;
  return passed < 86400 ? `${Math.floor(passed / 3600)} h` : `${Math.floor(passed / 86400)} d`;
}

function splitCells(split) {
  if (!split) return [cell(""), cell(""), cell(""), cell("")];
  return [
    cell(`${split.source}/${split.split}`),
    cell(known(split.ratePerSecond, count), true),
    cell(known(split.lagRecords, count), true),
    cell(known(split.lagSeconds, seconds), true),
  ];
}

function workerCells(worker, isFirst) {
  if (!isFirst) return [cell(""), cell(""), cell(""), cell(""), cell("")];
  if (!worker) return [cell("nobody"), cell(""), cell(""), cell(""), cell("")];
  return [
    cell(known(worker.slot ?? worker.pod, String)),
    cell(known(worker.state, String)),
    share(worker.busyShare),
    cell(known(worker.blockedShare, percent), true),
    cell(String(worker.units), true),
  ];
}

function block(worker, splits, sinks) {
  const rows = [];
  for (let line = 0; line < Math.max(1, splits.length, sinks.length); line += 1) {
    const row = document.createElement("tr");
    if (line === 0) row.className = "worker";
    const sink = sinks[line];
    row.append(
      ...splitCells(splits[line]),
      cell(line === 0 && splits.length > 0 ? "→" : ""),
      ...workerCells(worker, line === 0),
      cell(line === 0 && sinks.length > 0 ? "→" : ""),
      cell(sink ? sink.sink : ""),
      cell(sink ? known(sink.ratePerSecond, count) : "", true),
    );
    rows.push(row);
  }
  return rows;
}

function flow(view) {
  const slots = new Set(view.workers.map((worker) => worker.slot).filter((slot) => slot));
  const byLag = (a, b) => (b.lagRecords ?? 0) - (a.lagRecords ?? 0);
  const unread = view.splits.filter((split) => !slots.has(split.reader));
  const rows = unread.length > 0 ? block(null, unread, []) : [];
  for (const worker of view.workers) {
    const theirs = view.splits.filter((split) => worker.slot && split.reader === worker.slot);
    rows.push(...block(worker, theirs.sort(byLag), worker.sinks));
  }
  at("flow").replaceChildren(...rows);
}

function figures(view) {
  const lag = view.splits.length > 0 ? sum(view.splits.map((split) => split.lagRecords)) : null;
  const ages = view.splits.map((split) => split.lagSeconds);
  const oldest = lag !== null && !ages.includes(null) ? seconds(Math.max(...ages)) : null;
  const read = view.splits.map((split) => split.ratePerSecond).filter((rate) => rate !== null);
  const given = view.sinks.map((sink) => sink.ratePerSecond).filter((rate) => rate !== null);
  const parts = [
    view.phase ?? "not looked at yet",
    view.workersReady && `workers ${view.workersReady}`,
    view.unitsOwned && `units ${view.unitsOwned}`,
    read.length > 0 && `in ${count(sum(read))}/s`,
    given.length > 0 && `out ${count(sum(given))}/s`,
    lag !== null && `lag ${count(lag)} records${oldest ? `, ${oldest}` : ""}`,
  ];
  at("figures").textContent = parts.filter((part) => part).join(" · ");
}

function amiss(view) {
  const lines = [];
  const last = view.lastDecision;
  if (last) {
    const workers = last.from === last.to ? last.to : `${last.from} → ${last.to}`;
    lines.push(`autoscaler: ${workers} workers, ${age(last.time)} ago. ${last.reason}; from ${last.inputs}`);
  }
  for (const unit of view.units) {
    if (["Moving", "Acquiring", "Unowned"].includes(unit.state)) {
      lines.push(`unit ${unit.unit} moves${unit.previous ? ` from ${unit.previous}` : ""} to ${unit.owner ?? "nobody"}`);
    }
    if (unit.error) lines.push(`unit ${unit.unit}: ${unit.error}`);
  }
  for (const said of view.conditions) lines.push(`${said.type}=${said.status} ${said.reason}: ${said.message}`);
  for (const worker of view.workers)
    for (const failure of worker.failures) lines.push(`${worker.slot ?? worker.pod}: ${failure}`);
  lines.push(...view.notes.map((note) => `note: ${note}`));
  const item = (line) => {
    const item = document.createElement("li");
    item.textContent = line;
    return item;
  };
  at("amiss").replaceChildren(...lines.slice(0, 50).map(item));
}

async function asked(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.json();
}

function options(rows) {
  const select = at("pipeline");
  const wanted = select.value || decodeURIComponent(location.hash.slice(1));
  const names = rows.pipelines.map((row) => `${row.namespace}/${row.name}`);
  if (names.join() === [...select.options].map((option) => option.value).join()) return;
  select.replaceChildren(...names.map((name) => new Option(name, name)));
  if (names.includes(wanted)) select.value = wanted;
}

async function look() {
  try {
    options(await asked("api/pipelines"));
    const name = at("pipeline").value;
    if (name) {
      const view = await asked(`api/pipelines/${name.split("/").map(encodeURIComponent).join("/")}`);
      figures(view);
      amiss(view);
      flow(view);
    }
    at("said").textContent = name ? "" : "there is no StreamPipeline";
  } catch (error) {
    at("said").textContent = `as it was; now: ${error.message}`;
  }
}

at("pipeline").addEventListener("change", () => {
  location.hash = encodeURIComponent(at("pipeline").value);
  look();
});
(async function live() {
  await look();
  setTimeout(live, EVERY);
})();
