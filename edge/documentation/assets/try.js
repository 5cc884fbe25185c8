// Swagger UI over this server's own document; not inline, so that pages can forbid scripts that are.
SwaggerUIBundle({ url: document.currentScript.dataset.document, dom_id: "#swagger-ui" });
