// A page that has data-live="seconds" refreshes while it is seen. What is the same stays, with focus,
// scroll position, ticks and open details. And a form that was sent cannot be sent twice.
"use strict";

// Times are shown in the browser's zone, from the next page on.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const kept = top === self ? "SameSite=Lax" : "SameSite=None; Secure; Partitioned";
if (zone) document.cookie = `cdc_zone=${zone}; Path=/; Max-Age=31536000; ${kept}`;

const main = document.getElementById("main");
const note = document.getElementById("stale");
const QUIET_MS = 1500, MOST_S = 60;
const own = new Set(["open", "data-chosen"]); // attributes that the person, or this program, sets
let touched = 0, wait = Number(main.dataset.live), timer = 0;

for (const kind of ["pointermove", "pointerdown", "keydown", "wheel", "touchmove"])
  addEventListener(kind, () => { touched = performance.now(); }, { passive: true });

function same(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && (one.id || "") === (other.id || "");
}

function patch(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes])
    if (!own.has(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes)
    if (!own.has(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  const ids = new Set([...fresh.children].map(one => one.id).filter(Boolean));
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    // A row that has moved is found by its id; others by their place.
    const kept = child.id ? [...old.children].find(one => one.id === child.id) : at;
    if (kept && same(kept, child)) {
      while (at && at !== kept && !ids.has(at.id)) at = removed(at);
      if (kept === at) at = at.nextSibling;
      else moved(old, kept, at);
      patch(kept, child);
    } else old.insertBefore(document.importNode(child, true), at);
  }
  while (at) at = removed(at);
}

function removed(gone) {
  const following = gone.nextSibling;
  gone.remove();
  return following;
}

function moved(parent, one, before) {
  const focused = document.activeElement;
  parent.insertBefore(one, before);
  if (one.contains(focused)) focused.focus({ preventScroll: true }); // which it loses where it is moved
}

function busy() {
  const selected = getSelection();
  return performance.now() - touched < QUIET_MS || document.activeElement.matches("select, main input[type=text]")
    || (selected.type === "Range" && main.contains(selected.anchorNode));
}

function say(text) {
  if (note.textContent !== text) note.textContent = text;
  note.hidden = !text;
}

async function refresh() {
  const answer = await fetch(location.href, { redirect: "manual", signal: AbortSignal.timeout(20000) });
  if (answer.type === "opaqueredirect") return say("You are signed out. Reload the page to sign in."), false;
  if (!answer.ok) throw new Error(String(answer.status));
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("main");
  if (busy()) return true;
  patch(main, fresh);
  say("");
  return "live" in main.dataset;
}

async function turn() {
  timer = 0;
  let again = true;
  if (document.hidden) return;
  if (!busy()) {
    try {
      again = await refresh();
      wait = Number(main.dataset.live);
    } catch {
      wait = Math.min(MOST_S, wait * 2);
      say("This page cannot be refreshed just now; what it shows may be old.");
    }
  }
  if (again) later(busy() ? 1 : wait);
}

function later(seconds) {
  clearTimeout(timer);
  timer = setTimeout(turn, 1000 * seconds);
}

if ("live" in main.dataset) {
  later(wait);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) later(0); });
}

// A link with a key, as the demo prints it, fills in the form; the address bar does not keep it.
if (location.hash.startsWith("#cdc_")) {
  const field = document.getElementById("key");
  if (field) field.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname + location.search);
}

document.addEventListener("submit", event => {
  const form = event.target;
  if (form.dataset.sent) return event.preventDefault();
  if (form.method === "post") form.dataset.sent = "1";
});
addEventListener("pageshow", () => { for (const form of document.forms) delete form.dataset.sent; });
