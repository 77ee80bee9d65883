"use strict";

// "Try it out" rides on the browser's own session, so a call that changes something needs the session's CSRF token.
const SAFE_METHODS = new Set(["GET", "HEAD", "OPTIONS"]);

async function addCsrfToken(request) {
  if (!SAFE_METHODS.has((request.method || "GET").toUpperCase())) {
    const response = await fetch("/api/v1/auth/csrf", { credentials: "same-origin" });
    request.headers["X-CSRF-Token"] = (await response.json()).csrf_token;
  }
  return request;
}

window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  persistAuthorization: false,
  requestInterceptor: addCsrfToken,
  showMutatedRequest: false,
  validatorUrl: null,
});
