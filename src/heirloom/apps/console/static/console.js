// The page as the server draws it, every two seconds anew. Without this script it is drawn on reload.

const live = document.querySelector("[data-live]");
const pulse = document.querySelector("[data-pulse]");
const pause = document.querySelector("[data-pause]");
let paused = false;

// Only what changed is put in place: focus, selection and scrolling stay where they are.
function renew(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeName !== fresh.nodeName || old.nodeType !== Node.ELEMENT_NODE) {
    old.replaceWith(fresh);
    return;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of [...fresh.attributes]) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const news = [...fresh.childNodes];
  const olds = [...old.childNodes];
  news.forEach((node, i) => (i < olds.length ? renew(olds[i], node) : old.append(node)));
  olds.slice(news.length).forEach((node) => node.remove());
}

function say(words, stale) {
  pulse.textContent = words;
  pulse.classList.toggle("stale", stale);
}

async function look() {
  if (paused || document.hidden) return;
  try {
    const answer = await fetch(live.dataset.live, {
      headers: { "x-part": "1" },
      signal: AbortSignal.timeout(10_000),
    });
    if (answer.status === 401) {
      location.reload(); // the session is over: the page asks for a key
      return;
    }
    if (!answer.ok) throw new Error(`answered ${answer.status}`);
    const part = document.createElement("template");
    part.innerHTML = await answer.text(); // our own server's, escaped there
    const fresh = live.cloneNode(false);
    fresh.append(part.content);
    renew(live, fresh);
    say(`as of ${new Date(Number(live.querySelector("[data-at]").dataset.at)).toLocaleTimeString()}`, false);
  } catch (error) {
    say(`no answer since ${new Date(Number(live.querySelector("[data-at]").dataset.at)).toLocaleTimeString()}`, true);
  }
}

async function watch() {
  await look();
  setTimeout(watch, Number(live.dataset.every));
}

if (live) {
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    if (!paused) look();
  });
  setTimeout(watch, Number(live.dataset.every));
}
