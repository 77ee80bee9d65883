"use strict";

// A page that answers a mailed link: its form sends the link's token, and what was typed, to the API.
(() => {
  const notice = document.getElementById("notice");
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  // The same page may be open already when another mail's link is.
  addEventListener("hashchange", () => location.reload());
  // The address bar, the history and whoever looks over a shoulder need it no longer.
  history.replaceState(null, "", location.pathname);

  // The words of this page's language, or those of the server where it has more to say.
  function explain(problem) {
    const known = notice.dataset[problem.code];
    const messages = Object.values(problem.errors ?? {}).flat();
    if (known) return known;
    if (problem.errors?.password ?? problem.errors?.new_password) {
      return document.documentElement.lang === "en" ? messages.join(" ") : notice.dataset.weak_password;
    }
    return messages.join(" ") || problem.detail;
  }

  async function post(path, body) {
    const { csrf_token } = await (await fetch("/api/v1/auth/csrf")).json();
    const headers = { "Content-Type": "application/json", "X-CSRF-Token": csrf_token };
    const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
    const problem = response.ok ? null : await response.json();
    if (problem?.code !== "proof_of_work_required" || body.proof_of_work) return problem;
    const { solveProofOfWork } = await import("/static/proof-of-work.js");
    return post(path, { ...body, proof_of_work: await solveProofOfWork() });
  }

  async function send(form) {
    const body = Object.fromEntries(new FormData(form));
    if (form.dataset.token) body[form.dataset.token] = token;
    let problem = await post(form.dataset.path, body);
    if (!problem && form.dataset.then) problem = await post(form.dataset.then, {});
    if (problem) {
      notice.textContent = explain(problem);
      return;
    }
    form.hidden = true;
    const done = document.getElementById(form.dataset.done ?? "done");
    done.hidden = false;
    done.tabIndex = -1;
    done.focus();
  }

  for (const form of document.forms) {
    const needsToken = Boolean(form.dataset.token);
    const other = document.querySelector("form[data-without-token]");
    if (other) form.hidden = needsToken ? !token : Boolean(token);
    else if (needsToken && !token) {
      form.hidden = true;
      notice.textContent = notice.dataset.no_token;
    }
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const button = form.querySelector("button");
      notice.textContent = "";
      button.disabled = true;
      try {
        await send(form);
      } catch {
        notice.textContent = notice.dataset.away;
      } finally {
        button.disabled = false;
      }
    });
  }
})();
