// Swagger UI over this service's own schema.
"use strict";

// Swagger UI's own dark colours hang on a class.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
function paint() {
  const theme = document.documentElement.dataset.theme;
  document.documentElement.classList.toggle("dark-mode", theme ? theme === "dark" : dark.matches);
}
dark.addEventListener("change", paint);
paint();

SwaggerUIBundle({
  url: document.getElementById("swagger").dataset.schema,
  dom_id: "#swagger",
  deepLinking: true,
  displayRequestDuration: true,
  filter: true,
  persistAuthorization: false,
  tryItOutEnabled: true,
  validatorUrl: null,
});

// Swagger UI leaves its larger fields without a name.
const NAMES = {
  "textarea.body-param__text": "Request body",
  "select.examples-select-element": "Example",
};
new MutationObserver(() => {
  for (const [field, name] of Object.entries(NAMES))
    for (const found of document.querySelectorAll(`${field}:not([aria-label])`)) found.setAttribute("aria-label", name);
}).observe(document.getElementById("swagger"), { childList: true, subtree: true });
