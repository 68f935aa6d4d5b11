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
