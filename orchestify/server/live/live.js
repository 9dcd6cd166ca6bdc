"use strict";
// States come as server-sent events over fetch, so that the token is a header and in no address.
// All that is shown is set as text.
const PATH = "api/v1/live", KEY = "orchestify-live-token", SILENT_MS = 25000, KEPT = 300;
const SVG = "http://www.w3.org/2000/svg";
const at = (id) => document.getElementById(id);
let token = "", state = null, shown = {}, samples = [], day = "", tries = 0, stop = null;

function make(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

// Draw a part anew only where it has changed: what is selected or scrolled stays.
function renew(id, value, draw) {
  const text = JSON.stringify(value);
  if (shown[id] === text) return;
  shown[id] = text;
  at(id).replaceChildren(...draw(value));
}

function tile(name, figure, note) {
  const box = make("div");
  box.append(make("dt", name), make("dd", figure), make("dd", note || ""));
  return box;
}

function table(rows) {
  if (!rows.length) return [make("p", "No call yet.", "quiet")];
  const made = make("table"), head = make("tr"), body = make("tbody");
  for (const [name, kind] of [["", "key"], ["cost", ""], ["tokens", ""], ["calls", ""]]) {
    const cell = make("th", name, kind);
    cell.scope = "col";
    head.append(cell);
  }
  for (const row of rows) {
    const line = make("tr"), key = make("th", row.name, "key"), bar = make("i");
    key.scope = "row";
    bar.style.width = 100 * row.share + "%";
    key.append(bar);
    const calls = make("td", row.calls);
    if (row.not_ok !== "0") calls.append(make("small", "+" + row.not_ok + " not ok"));
    line.append(key, make("td", row.cost), make("td", row.tokens), calls);
    body.append(line);
  }
  made.append(make("thead"), body);
  made.tHead.append(head);
  return [made];
}

function budget(each) {
  const box = make("div", undefined, each.is_over ? "budget over" : "budget");
  const meter = make("div", undefined, "meter");
  meter.setAttribute("aria-hidden", "true");
  for (const [index, name] of ["spent", "possible", "held"].entries()) {
    const part = make("i", undefined, name);
    part.style.width = 100 * each.parts[index] + "%";
    meter.append(part);
  }
  box.append(make("strong", each.name), make("span", each.words), meter);
  return box;
}

const GOOD = ["closed", "healthy", "free"], BAD = ["open", "unavailable", "full"];

function condition(each) {
  const line = make("li");
  const kind = GOOD.includes(each.state) ? "good" : BAD.includes(each.state) ? "bad" : "fair";
  line.append(make("b", each.state.replace("_", " "), kind), make("strong", each.name));
  if (each.words) line.append(make("small", each.words));
  return line;
}

function conditions(found, none) {
  if (found === null) return [make("li", "Known only to the process that calls.", "quiet")];
  return found.length ? found.map(condition) : [make("li", none, "quiet")];
}

function errors(found) {
  if (!found.length) return [make("p", "None.", "quiet")];
  const made = make("table"), body = make("tbody"), head = make("tr");
  for (const name of ["when (UTC)", "error", "where", "agent"]) {
    const cell = make("th", name, "key");
    cell.scope = "col";
    head.append(cell);
  }
  for (const each of found) {
    const line = make("tr");
    const when = each.at.slice(5, 19).replace("T", " ");
    for (const text of [when, each.error, each.target, each.agent]) {
      line.append(make("td", text, "key"));
    }
    body.append(line);
  }
  made.append(make("thead"), body);
  made.tHead.append(head);
  return [made];
}

// A drawing comes as a tree: its tag, its attributes, and what is in it.
const DRAWN = ["svg", "g", "title", "desc", "path", "polyline", "polygon", "circle", "text"];

function drawing(tree) {
  if (typeof tree === "string") return document.createTextNode(tree);
  const [tag, attributes, inner] = tree;
  const made = document.createElementNS(SVG, DRAWN.includes(tag) ? tag : "g");
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...inner.map(drawing));
  return made;
}

function pace() {
  const last = samples[samples.length - 1];
  const first = samples.find((each) => last.t - each.t <= 60000) || last;
  const minutes = Math.max((last.t - first.t) / 60000, 1 / 60);
  const known = last.t - first.t >= 5000;
  const usd = (last.usd - first.usd) / minutes, tokens = (last.tokens - first.tokens) / minutes;
  return known ? { usd: usd, tokens: tokens } : null;
}

function digits(usd) {
  return "$" + (usd >= 0.1 || usd === 0 ? usd.toFixed(2) : usd.toPrecision(3));
}

function take(found) {
  const now = Date.now();
  if (found.pace.day !== day) { samples = []; day = found.pace.day; }
  samples.push({ t: now, usd: found.pace.usd, tokens: found.pace.tokens });
  samples = samples.filter((each) => now - each.t <= KEPT * 1000).slice(-2 * KEPT);
}

function drawPace() {
  if (!samples.length) return;
  const rate = pace();
  const words = rate === null ? "Measuring."
    : digits(rate.usd) + " and " + Math.round(rate.tokens).toLocaleString("en") + " tokens a minute, over the last minute";
  renew("pace-words", words, (text) => [text]);
  const now = Date.now(), span = Math.max(now - samples[0].t, 60000), first = samples[0].usd;
  const most = Math.max(samples[samples.length - 1].usd - first, 1e-9);
  const points = samples.map((each) =>
    (720 - 720 * (now - each.t) / span).toFixed(1) + "," + (112 - 104 * (each.usd - first) / most).toFixed(1));
  const line = document.createElementNS(SVG, "path"), floor = document.createElementNS(SVG, "line");
  for (const [name, value] of [["x1", 0], ["x2", 720], ["y1", 112], ["y2", 112]]) floor.setAttribute(name, value);
  line.setAttribute("d", "M" + points.join("L") + "L720," + points[points.length - 1].split(",")[1]);
  at("pace-chart").replaceChildren(floor, line);
}

function period() {
  return document.querySelector("input[name=period]:checked").value;
}

function draw() {
  if (state === null) return;
  const sums = state.periods[period()];
  renew("problem", state.problem, (text) => [text]);
  at("problem").hidden = !state.problem;
  renew("sums", [sums.cost, sums.tokens, sums.tokens_words, sums.calls, sums.not_ok, state.under_way], () => [
    tile("Cost", sums.cost),
    tile("Tokens", sums.tokens, sums.tokens_words),
    tile("Answered calls", sums.calls, sums.not_ok + " attempts not ok"),
    tile("Under way", state.under_way.toLocaleString("en"), "attempts, now"),
  ]);
  renew("remarks", sums.remarks, (lines) => {
    const list = make("ul");
    list.append(...lines.map((line) => make("li", line)));
    return [list];
  });
  at("remarks").className = sums.remarks.length > 1 ? "remarks" : "fine";
  for (const axis of ["provider", "agent", "model"]) renew("by-" + axis, sums.by[axis], table);
  renew("budgets-list", state.budgets, (all) => all.map(budget));
  at("budgets").hidden = !state.budgets.length;
  renew("forecast-words", state.forecast.words, (text) => [text]);
  renew("forecast-chart", state.forecast.chart, (tree) => (tree ? [drawing(tree)] : []));
  at("forecast-chart").hidden = !state.forecast.chart;
  renew("circuits-list", state.circuits, (all) => conditions(all, "No call yet."));
  renew("limits-list", state.limits, (all) => conditions(all, "None are configured."));
  renew("providers-list", state.providers, (all) => conditions(all, "Nothing is known yet."));
  renew("errors-list", state.errors, errors);
  drawPace();
}

function say(words, kind) {
  if (at("status").textContent !== words) at("status").textContent = words;
  at("light").className = "light " + kind;
}

function ask(words) {
  sessionStorage.removeItem(KEY);
  token = "";
  at("entry").hidden = false;
  at("view").hidden = true;
  at("refused").textContent = words;
  say("waiting for a token", "");
  at("token").focus();
}

// Read one stream to its end; return whether to come again, null where it ended as it should.
async function read() {
  stop = new AbortController();
  let silence = setTimeout(() => stop.abort(), SILENT_MS);
  try {
    const headers = { Accept: "text/event-stream" };
    if (token) headers.Authorization = "Bearer " + token;
    const answer = await fetch(PATH, { headers, cache: "no-store", credentials: "omit", signal: stop.signal });
    if (answer.status === 401 || answer.status === 403) {
      ask(token ? (answer.status === 401 ? "This token does not hold." : "This token may not read.") : "");
      return false;
    }
    if (!answer.ok) return true;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return null;
      clearTimeout(silence);
      silence = setTimeout(() => stop.abort(), SILENT_MS);
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) if (event.startsWith("data: ")) live(JSON.parse(event.slice(6)));
    }
  } catch {
    return document.hidden ? null : true;
  } finally {
    clearTimeout(silence);
  }
}

function live(found) {
  tries = 0;
  state = found;
  at("entry").hidden = true;
  at("view").hidden = false;
  at("forget").hidden = !token;
  say("live", "live");
  take(found);
  draw();
}

// A tab that nobody sees reads nothing: a browser has six connections for all of a server's tabs.
function seen() {
  say("paused while it is hidden", "");
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

async function follow() {
  for (;;) {
    while (document.hidden) await seen();
    const failed = await read();
    if (failed === false) return;
    if (failed) {
      const wait_s = Math.min(30, 2 ** tries++);
      say("lost; trying again in " + wait_s + " s", "lost");
      await new Promise((resolve) => setTimeout(resolve, 1000 * wait_s));
    }
  }
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  at("token").value = "";
  sessionStorage.setItem(KEY, token);
  at("refused").textContent = "";
  follow();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden && stop !== null) stop.abort();
});
at("periods").addEventListener("change", draw);
at("forget").addEventListener("click", () => {
  sessionStorage.removeItem(KEY);
  location.reload();
});
setInterval(drawPace, 1000);

// A token behind the `#` has come no further than this browser; take it out of sight.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem(KEY, given);
  history.replaceState(null, "", location.pathname + location.search);
}
token = sessionStorage.getItem(KEY) || "";
follow();
