// Fetches the page again and swaps its content, so that scrolling and reading are not disturbed.
"use strict";

const seconds = Number(document.body.dataset.refreshSeconds) || 5;

async function refresh() {
  try {
    const answer = await fetch(location.href, {headers: {Accept: "text/html"}, cache: "no-store"});
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const live = fresh.getElementById("live");
    if (live === null) throw new Error("another page");
    document.getElementById("live").replaceWith(live);
    document.title = fresh.title;
  } catch {
    const stale = document.getElementById("stale");
    if (stale !== null) stale.hidden = false;
  }
}

setInterval(() => { if (!document.hidden) refresh(); }, seconds * 1000);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
