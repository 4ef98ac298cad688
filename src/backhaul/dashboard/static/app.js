// Small helpers; every page works without them.
"use strict";
document.documentElement.classList.add("js");

// A page that is no longer refreshed must not look fresh.
let lastAnswer = new Date();
const stale = document.createElement("p");
stale.className = "banner bad stale";
stale.setAttribute("role", "alert");
stale.hidden = true;

function showStale() {
  stale.textContent = `No answer from the dashboard since ${lastAnswer.toLocaleTimeString()}: ` +
    "what follows is old. Is it still running?";
  stale.hidden = false;
}

document.addEventListener("DOMContentLoaded", () => {
  const live = document.getElementById("live");
  if (live) live.parentNode.insertBefore(stale, live);
});
document.addEventListener("htmx:error", showStale);
document.addEventListener("htmx:after:swap", () => {
  lastAnswer = new Date();
  stale.hidden = true;
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy).textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    window.getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
    button.textContent = "Press Ctrl-C";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});
