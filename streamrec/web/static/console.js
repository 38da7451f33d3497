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

// Plays a channel live, beside the part of the page that is swapped. Safari plays HLS by itself.
const player = document.getElementById("player");
const video = player.querySelector("video");
const trouble = player.querySelector("[role=alert]");
let hls = null;

function stop() {
  if (hls !== null) hls.destroy();
  hls = null;
  video.removeAttribute("src");
  video.load();
  player.hidden = true;
}

function play(name, address) {
  stop();
  player.querySelector("b").textContent = name;
  player.hidden = false;
  trouble.hidden = true;
  if (window.Hls !== undefined && window.Hls.isSupported()) {
    hls = new window.Hls({enableWorker: false});
    hls.on(window.Hls.Events.ERROR, (_, error) => { if (error.fatal) trouble.hidden = false; });
    hls.loadSource(address);
    hls.attachMedia(video);
  } else {
    video.src = address;
  }
  video.play().catch(() => {});
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button === null) return;
  if (button.dataset.live !== undefined) play(button.dataset.name, button.dataset.live);
  else if (player.contains(button)) stop();
});
