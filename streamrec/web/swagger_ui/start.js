"use strict";

// A file of its own, because the content security policy allows no script inside a page.
window.ui = SwaggerUIBundle({
  url: "../openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  docExpansion: "list",
  displayRequestDuration: true,
  filter: true,
  persistAuthorization: true,
  queryConfigEnabled: false, // a link must not be able to point this page at another specification
  tryItOutEnabled: true,
  validatorUrl: null,
});
