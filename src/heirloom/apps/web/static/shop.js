// The shop window works without this. It reports what came into view, saves without a new page,
// fetches more cards in place, and applies filters as they are ticked.
"use strict";

const SEEN_MS = 400; // a listing counts as seen after this long, half of it in view
const SEND_MS = 3000;

const waiting = new Map(); // slate -> {slate, surface, listings, positions}
const timers = new Map();

function send() {
  for (const batch of waiting.values()) {
    const body = new Blob([JSON.stringify(batch)], { type: "application/json" });
    navigator.sendBeacon("/seen", body);
  }
  waiting.clear();
}

function saw(card) {
  const { listing, slate, surface, position } = card.dataset;
  if (!waiting.has(slate)) {
    waiting.set(slate, { slate, surface, listings: [], positions: [] });
  }
  waiting.get(slate).listings.push(listing);
  waiting.get(slate).positions.push(Number(position));
}

const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      clearTimeout(timers.get(target));
      if (isIntersecting) {
        timers.set(
          target,
          setTimeout(() => {
            watcher.unobserve(target);
            saw(target);
          }, SEEN_MS),
        );
      }
    }
  },
  { threshold: 0.5 },
);

function watch(root) {
  for (const card of root.querySelectorAll(".card[data-slate]")) {
    if (card.dataset.slate) watcher.observe(card);
  }
}

async function save(form, button) {
  const fields = new URLSearchParams(new FormData(form));
  fields.set("button", button.value);
  const answer = await fetch("/act", { method: "POST", body: fields, headers: { "x-part": "1" } });
  if (!answer.ok) return form.submit();
  const saved = button.value === "save";
  button.value = saved ? "unsave" : "save";
  button.setAttribute("aria-pressed", String(saved));
}

async function more(link) {
  const place = link.closest(".more");
  link.setAttribute("aria-busy", "true");
  const answer = await fetch(link.href, { headers: { "x-part": "1" } });
  if (!answer.ok) return location.assign(link.href); // the page says what is wrong
  const part = document.createElement("template");
  part.innerHTML = await answer.text(); // our own server's, escaped there
  watch(part.content);
  const first = part.content.querySelector("a.open");
  place.replaceWith(part.content);
  if (first) first.focus({ preventScroll: true });
}

document.addEventListener("submit", (event) => {
  if (event.target.matches(".heart")) {
    event.preventDefault();
    save(event.target, event.submitter);
  }
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-more]");
  if (link && !event.metaKey && !event.ctrlKey && !event.shiftKey) {
    event.preventDefault();
    more(link);
  }
});

document.addEventListener("change", (event) => {
  const form = event.target.closest("[data-auto]");
  if (form) form.requestSubmit();
});

// The filters stand open beside the results on a wide window, closed above them on a phone.
for (const filters of document.querySelectorAll("[data-filters]")) {
  filters.open = matchMedia("(min-width: 60rem)").matches;
}

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden") send();
});
addEventListener("pagehide", send);
setInterval(send, SEND_MS);
watch(document);
