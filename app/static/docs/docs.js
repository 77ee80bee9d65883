"use strict";

const SAFE_METHODS = new Set(["GET", "HEAD", "OPTIONS"]);
// After these calls somebody else is signed in, or nobody.
const ACCOUNT_CALLS = /\/api\/v1\/(auth\/(login|logout|register)|users\/me)$/;
const COOKIES = "-b cookies.txt -c cookies.txt";

async function addCsrfToken(request) {
  if (!SAFE_METHODS.has((request.method || "GET").toUpperCase())) {
    request.headers["X-CSRF-Token"] = await account.fetchToken();
  }
  return request;
}

function noteAccount(response) {
  if (response.ok && ACCOUNT_CALLS.test(new URL(response.url, location).pathname)) {
    account.look();
  }
  return response;
}

function quote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

// The call that was just made, for a shell: with the session's cookie, which scripts cannot read, and its token.
function spellCurl(request) {
  const method = (request.get("method") || "GET").toUpperCase();
  const url = quote(new URL(request.get("url"), location).href);
  const body = request.get("body");
  const lines = [`curl ${COOKIES}${method === "GET" ? "" : ` -X ${method}`}`];
  if (!SAFE_METHODS.has(method)) {
    lines.push('-H "X-CSRF-Token: $token"');
  }
  if (body) {
    lines.push("-H 'Content-Type: application/json'", `-d ${quote(String(body))}`);
  }
  const call = [...lines, url].join(" \\\n  ");
  const token = `curl -s ${COOKIES} ${location.origin}/api/v1/auth/csrf | cut -sd '"' -f 4`;
  return SAFE_METHODS.has(method) ? call : `token=$(${token})\n${call}`;
}

// How the page differs from Swagger UI's own: curl with cookie and token, errors folded up, nothing to authorize with.
function adapt({ React }) {
  const element = React.createElement;

  function Call({ title, text }) {
    const [isCopied, setCopied] = React.useState(false);
    const copy = () => navigator.clipboard.writeText(text).then(() => setCopied(true), () => setCopied(false));
    return element(
      "div",
      { className: "call" },
      element("h4", null, title),
      navigator.clipboard && element("button", { type: "button", onClick: copy }, isCopied ? "Copied" : "Copy"),
      element("pre", { tabIndex: 0 }, element("code", null, text)),
    );
  }

  function Errors({ errors, Markdown }) {
    const rows = errors.map(([status, error]) =>
      element(
        "tr",
        { key: status },
        element("th", { scope: "row" }, status),
        element("td", null, element(Markdown, { source: error.get("description") })),
      ),
    );
    return element(
      "details",
      { className: "errors" },
      element("summary", null, `Errors: ${errors.map(([status]) => status).join(", ")}`),
      element("table", null, element("tbody", null, rows)),
    );
  }

  const wrapResponses = (Original, system) => (props) => {
    const document = system.specSelectors.specJson();
    const operation = document.getIn(["paths", props.path, props.method]);
    const isError = (status) => Number(status) >= 400;
    const errors = operation
      .get("responses")
      .filter((_, status) => isError(status))
      .map((error) => document.getIn(error.get("$ref").slice(2).split("/")))
      .sortBy((_, status) => status)
      .entrySeq()
      .toArray();
    return element(
      React.Fragment,
      null,
      // Once it was tried, the call as it was made stands in its place.
      !props.tryItOutResponse && element(Call, { title: "In a shell", text: operation.getIn(["x-codeSamples", 0, "source"]) }),
      element(Original, { ...props, responses: props.responses.filter((_, status) => !isError(status)) }),
      element(Errors, { errors, Markdown: system.getComponent("Markdown", true) }),
    );
  };

  // The page sends the token itself.
  const wrapParameters = (Original) => (props) => {
    const parameters = props.parameters.filter((parameter) => parameter.get("name") !== "X-CSRF-Token");
    return element(Original, { ...props, parameters });
  };

  return {
    wrapComponents: {
      authorizeBtn: () => () => null,
      authorizeOperationBtn: () => () => null,
      curl: () => (props) => element(Call, { title: "The same in a shell", text: spellCurl(props.request) }),
      headers: () => () => null,
      parameters: wrapParameters,
      responses: wrapResponses,
    },
  };
}

window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  docExpansion: "list",
  persistAuthorization: false,
  plugins: [adapt],
  requestInterceptor: addCsrfToken,
  responseInterceptor: noteAccount,
  showMutatedRequest: false,
  syntaxHighlight: { activated: false },
  validatorUrl: null,
});
