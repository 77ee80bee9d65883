"use strict";

// Signing in and out on the page itself: "Try it out" rides on the browser's own session.
const account = (() => {
  const find = (id) => document.getElementById(id);

  async function fetchToken() {
    const response = await fetch("/api/v1/auth/csrf");
    return (await response.json()).csrf_token;
  }

  async function post(path, body) {
    const headers = { "Content-Type": "application/json", "X-CSRF-Token": await fetchToken() };
    return fetch(path, { method: "POST", headers, body: body && JSON.stringify(body) });
  }

  function show(user) {
    find("sign-in").hidden = Boolean(user);
    find("signed-in").hidden = !user;
    find("who").textContent = user ? user.email : "";
  }

  function tell(text) {
    find("notice").textContent = text;
  }

  async function look() {
    const response = await fetch("/api/v1/users/me");
    show(response.ok ? await response.json() : null);
  }

  // What could not be sent at all is told as a refusal is.
  async function attempt(action) {
    try {
      tell("");
      await action();
    } catch {
      tell("The server did not answer. Try again.");
    }
  }

  async function signIn() {
    const response = await post("/api/v1/auth/login", { email: find("email").value, password: find("password").value });
    const answer = await response.json();
    find("password").value = "";
    if (!response.ok) {
      tell(answer.detail);
      find("password").focus();
      return;
    }
    show(answer.user);
    find("sign-out").focus();
  }

  async function signOut() {
    await post("/api/v1/auth/logout");
    show(null);
    find("email").focus();
  }

  find("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(signIn);
  });
  find("sign-out").addEventListener("click", () => attempt(signOut));
  attempt(look);
  return { fetchToken, look: () => attempt(look) };
})();
