// What the pages do beyond htmx: the theme, live deletions, a question before what cannot be taken back.
"use strict";

const themes = ["auto", "light", "dark"];
const themeButton = document.getElementById("theme");

function showTheme() {
  themeButton.textContent = `Theme: ${localStorage.getItem("theme") || "auto"}`;
}

themeButton.hidden = false;
themeButton.addEventListener("click", () => {
  const next = themes[(themes.indexOf(localStorage.getItem("theme") || "auto") + 1) % themes.length];
  if (next === "auto") {
    localStorage.removeItem("theme");
    delete document.documentElement.dataset.theme;
  } else {
    localStorage.setItem("theme", next);
    document.documentElement.dataset.theme = next;
  }
  showTheme();
});
showTheme();

// A deletion's events only say that it has changed; the page asks for itself anew, as whoever looks at it.
const followed = document.querySelector("[data-follow]");
if (followed) {
  const events = new EventSource(followed.dataset.follow);
  events.addEventListener("deletion", (event) => {
    const finished = JSON.parse(event.data).finished_at !== null;
    if (finished) events.close();
    htmx.trigger(followed, "changed");
  });
  window.addEventListener("pagehide", () => events.close());
}

document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

const offline = document.getElementById("offline");
for (const failed of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
  document.body.addEventListener(failed, (event) => {
    if (event.detail.xhr?.status === 401) window.location.reload();
    else offline.hidden = false;
  });
}
document.body.addEventListener("htmx:afterOnLoad", () => { offline.hidden = true; });
