// What the pages do beyond htmx: the theme, live deletions, a question before what cannot be taken back.
"use strict";

document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

const themes = ["auto", "light", "dark"];
const themeButton = document.getElementById("theme");
const chosenTheme = () => document.documentElement.dataset.theme || "auto";

function keepTheme(name) {
  try {
    if (name === "auto") localStorage.removeItem("theme");
    else localStorage.setItem("theme", name);
  } catch {
    // Storage is blocked: it holds for this page.
  }
}

function showTheme() {
  themeButton.textContent = `Theme: ${chosenTheme()}`;
}

themeButton.hidden = false;
themeButton.addEventListener("click", () => {
  const next = themes[(themes.indexOf(chosenTheme()) + 1) % themes.length];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  keepTheme(next);
  showTheme();
});
showTheme();

const offline = document.getElementById("offline");
for (const failed of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
  document.body.addEventListener(failed, (event) => {
    if (event.detail.xhr?.status === 401) window.location.reload();
    else offline.hidden = false;
  });
}
document.body.addEventListener("htmx:afterOnLoad", () => { offline.hidden = true; });

// A deletion's events only say that it has changed; the page asks for itself anew, as whoever looks at it.
const followed = document.querySelector("[data-follow]");
const REFUSED_MILLISECONDS = 5000; // until a stream that was refused is asked for again

function follow() {
  const events = new EventSource(followed.dataset.follow);
  const close = () => events.close();
  let failures = 0;
  events.addEventListener("open", () => {
    failures = 0;
    offline.hidden = true;
  });
  events.addEventListener("deletion", (event) => {
    const finished = JSON.parse(event.data).finished_at !== null;
    if (finished) events.close();
    htmx.trigger(followed, "changed");
  });
  events.addEventListener("error", () => {
    failures += 1;
    // A stream ends now and then, and the browser resumes it; only if that fails is anything wrong.
    if (failures > 1) offline.hidden = false;
    if (events.readyState !== EventSource.CLOSED) return;
    // Refused, for good as far as the browser goes. The page's own request says why: a session that has ended leads to
    // the login, and anything else may pass.
    window.removeEventListener("pagehide", close);
    htmx.trigger(followed, "changed");
    setTimeout(follow, REFUSED_MILLISECONDS);
  });
  window.addEventListener("pagehide", close);
}

// What replaces a part of a page is not read out; its new state is said once, outside that part.
function tellStatus() {
  const told = document.getElementById("told");
  const state = () => followed.querySelector(".badge").textContent;
  let before = state();
  followed.addEventListener("htmx:afterSwap", () => {
    if (state() !== before) told.textContent = before = state();
  });
}

if (followed) {
  follow();
  tellStatus();
}
