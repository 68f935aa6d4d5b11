// Before the first paint: the theme that was chosen here, if one was. Without a choice the system's holds.
try {
  const chosen = localStorage.getItem("theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch {
  // Storage is blocked: nothing was kept.
}
